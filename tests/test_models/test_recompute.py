"""Recomputed training is the same training, to the last bit, in fewer bytes."""

import copy
from functools import cache

import pytest
import torch
from torch import nn

from mman.engine.hooks import MomentumUpdateHook
from mman.models.aux_heads import LocalBatch
from mman.models.recompute import PARTS, frozen_statistics
from mman.models.recompute import recompute as recompute_module
from mman.registry import MODELS
from mman.utils import UserError
from mman.utils.live_bytes import LiveBytes
from tests.helpers.settings import (
    FAST_BACKBONES,
    FAST_RECOMPUTED,
    OTHER_BACKBONES,
    RECOMPUTED,
    build_model,
    image_size,
    in_tiers,
    model_cfg,
    random_batch,
)
from tests.helpers.stand_in_runner import make_runner, step


def _trained(*args, recompute='none', change=lambda model: None, **optim_wrapper):
    """State after three steps, and the logged losses."""
    model = build_model(*args, recompute=recompute)
    change(model)
    runner = make_runner(model, [MomentumUpdateHook()], **optim_wrapper)
    torch.manual_seed(1)
    logs = [step(runner, random_batch(4, model.input_shape[1], seed=i)) for i in range(3)]
    return model.state_dict(), logs


# Without recomputation; several tests compare with the same.
_plain = cache(_trained)


def _assert_equal(ours, theirs):
    assert ours[0].keys() == theirs[0].keys()
    different = [key for key in ours[0] if not torch.equal(ours[0][key], theirs[0][key])]
    assert not different
    assert ours[1] == theirs[1]


@pytest.mark.parametrize(
    ('method', 'backbone', 'recompute'),
    in_tiers([case for case in RECOMPUTED if case[2] != 'none'], FAST_RECOMPUTED),
)
def test_methods_train_the_same(method, backbone, recompute):
    case = (method, backbone)
    _assert_equal(_trained(*case, recompute=recompute), _plain(*case))


@pytest.mark.parametrize('backbone', in_tiers(OTHER_BACKBONES, FAST_BACKBONES[:1]))
def test_backbones_train_the_same(backbone):
    case = ('man', backbone, image_size(backbone))
    _assert_equal(_trained(*case, recompute='all'), _plain(*case))


@pytest.mark.full
@pytest.mark.parametrize('part', PARTS)
def test_every_part_alone_trains_the_same(part):
    _assert_equal(_trained('manpp', recompute=[part]), _plain('manpp'))


@pytest.mark.full
@pytest.mark.parametrize('num_blocks', [1, 9])
def test_backpropagation_and_many_blocks(num_blocks):
    cases = []
    for recompute in ('all', 'none'):
        model = build_model('man', recompute=recompute, num_blocks=num_blocks)
        runner = make_runner(model, [MomentumUpdateHook()])
        logs = [step(runner, random_batch(4, seed=i)) for i in range(3)]
        cases.append((model.state_dict(), logs))
    _assert_equal(*cases)


def test_mixed_precision_trains_the_same():
    amp = dict(type='BlockAmpOptimWrapper', dtype='bfloat16')
    _assert_equal(_trained('man', recompute='all', **amp), _trained('man', **amp))


def test_dropout_draws_the_same_mask_twice():
    def add_dropout(model):
        for head in model.aux_heads:
            head.host.decoder.decoder[2] = nn.Sequential(nn.ReLU(), nn.Dropout(0.5))

    plain = _trained('man', change=add_dropout)
    _assert_equal(_trained('man', recompute='all', change=add_dropout), plain)
    assert plain[1] != _plain('man')[1]


def test_other_statistics_train_the_same():
    """Cumulative averages, instance norms and norms that keep no statistics."""

    def change(model):
        model.backbone.norm1.momentum = None
        for head in model.aux_heads:
            hidden = head.host.decoder.decoder[1].num_features
            head.host.decoder.decoder[1] = nn.InstanceNorm2d(hidden, track_running_stats=True)
            head.host.aux_net[1] = nn.BatchNorm2d(
                head.host.aux_net[1].num_features, track_running_stats=False
            )

    plain = _trained('man', change=change)
    _assert_equal(_trained('man', recompute='all', change=change), plain)


def test_statistics_are_frozen_within_and_restored_after():
    norm = nn.BatchNorm1d(3)
    x = torch.randn(5, 3)
    norm(x)
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    expected = norm(x).detach()
    norm.load_state_dict(before)
    with pytest.raises(RuntimeError), frozen_statistics(norm):
        assert torch.equal(norm(x), expected)
        raise RuntimeError
    assert norm.momentum == 0.1
    assert norm.state_dict().keys() == before.keys()
    assert all(torch.equal(norm.state_dict()[key], before[key]) for key in before)
    norm(x)
    assert norm.num_batches_tracked == 2


def _passes(recompute):
    """How often each part of the second block runs in one step."""
    model = build_model('man', recompute=recompute)
    head = model.aux_heads[1]
    watched = dict(
        stem=model.backbone.conv1,
        units=model.block_units[1][0].module,
        momentum_unit=head.momentum_unit,
        bias_unit=head.bias_unit,
        decoder=head.host.decoder.decoder[0],
        classifier=head.host.aux_net[0],
    )
    counts = dict.fromkeys(watched, 0)
    for name, module in watched.items():
        module.register_forward_pre_hook(
            lambda *_, name=name: counts.__setitem__(name, counts[name] + 1)
        )
    step(make_runner(model, [MomentumUpdateHook()]), random_batch(4))
    return counts


@pytest.mark.parametrize('recompute', ['none', 'block', 'all', ['bias_unit', 'decoder']])
def test_what_is_listed_runs_twice_and_nothing_else(recompute):
    listed = dict(none=(), block=('stem', 'units'), all=PARTS).get(str(recompute), recompute)
    assert _passes(recompute) == {part: 2 if part in listed else 1 for part in PARTS}


def test_a_head_without_parts_is_recomputed_as_a_whole():
    model = build_model('greedy', recompute='all')
    runs = []
    model.aux_heads[0].fc.register_forward_pre_hook(lambda *_: runs.append(1))
    step(make_runner(model), random_batch(4))
    assert len(runs) == 2


def test_inference_recomputes_nothing():
    model = build_model('man', recompute='all')
    with torch.no_grad():
        x = model.local_blocks[0].layers[0](torch.ones(1, 3, 16, 16))
    assert not x.requires_grad


def test_copies_compute_with_their_own_weights():
    """What EMAHook and fake copies deepcopy, after the parts were made to recompute."""
    model = build_model('manpp', recompute='all')
    step(make_runner(model, [MomentumUpdateHook()]), random_batch(4))
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for p in copied.parameters():
            p.zero_()
    batch = random_batch(4)
    batch = LocalBatch(batch['inputs'], batch['data_samples'])
    for blocks in (model.local_blocks, copied.local_blocks):
        x = batch.inputs
        for block in blocks:
            x, losses = block(x, batch)
            assert x.any() == (blocks is model.local_blocks)
    assert torch.allclose(losses['loss'], torch.tensor(10.0).log())
    for owner in (model, copied):
        features = torch.randn(2, *owner.aux_heads[0].context.feature_shape, requires_grad=True)
        assert owner.aux_heads[0].mixed(features).any() == (owner is model)


def test_norms_are_looked_up_at_call_time():
    """SyncBN conversion replaces them, perhaps after the module was made to recompute."""
    trained = []
    for again in (True, False):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
        if again:
            recompute_module(module)
        # In one process it computes what BatchNorm does.
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        assert isinstance(module[1][0], nn.SyncBatchNorm)
        for _ in range(2):
            module(torch.randn(2, 3, 5, 5, requires_grad=True)).square().sum().backward()
        gradients = {name: p.grad for name, p in module.named_parameters()}
        trained.append((module.state_dict() | {f'{k}.grad': g for k, g in gradients.items()}, []))
    _assert_equal(*trained)


@pytest.mark.parametrize(
    ('method', 'recompute', 'message'),
    [
        ('man', 'everything', "recompute='everything' should be one of none, block, all"),
        ('man', ['units', 'head'], r"recompute=\['units', 'head'\] should be"),
        ('man', 3, 'recompute=3 should be'),
        ('man', None, 'recompute=None should be'),
        ('dgl', ['decoder'], "recompute has 'decoder', but no aux head"),
        ('infopro', ['bias_unit'], "recompute has 'bias_unit', but no aux head"),
    ],
)
def test_bad_keys_are_named(method, recompute, message):
    with pytest.raises(UserError, match=message):
        MODELS.build(model_cfg(method, recompute=recompute))


def test_a_second_way_to_recompute_is_refused():
    cfg = model_cfg('man', 'resnet18', 64)
    cfg['backbone']['with_cp'] = True
    with pytest.raises(UserError, match=r"with_cp=True .* model.recompute='block'"):
        MODELS.build(cfg)


@pytest.mark.full
def test_less_is_alive():
    """In order: nothing, the units, everything; one block a unit, wide maps."""
    peaks = []
    for recompute in ('none', 'block', 'all'):
        model = build_model('man', recompute=recompute, num_blocks=10, stem='own')
        runner = make_runner(model, [MomentumUpdateHook()])
        with LiveBytes() as live:
            step(runner, random_batch(64))
        peaks.append(live.peak)
    assert peaks[0] > 1.1 * peaks[1] > 1.1 * 1.3 * peaks[2]
