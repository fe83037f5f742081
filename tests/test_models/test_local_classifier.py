"""Training block by block: isolation, exactness, and what is left at inference."""

import copy
import io
from functools import cache

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn

from mman.engine.hooks import MomentumUpdateHook
from mman.registry import MODELS
from mman.utils import UserError
from tests.helpers.cutting import check_logits_however_cut, check_one_block_is_backpropagation
from tests.helpers.settings import (
    ALL,
    CASES,
    FAST,
    FAST_BACKBONES,
    METHODS,
    ONE_WRAPPED,
    TRAINED,
    VECTORS,
    build_model,
    image_size,
    in_tiers,
    model_cfg,
    random_batch,
    start_heads,
)
from tests.helpers.stand_in_runner import make_runner, step

FAST_ALL = [*FAST, ('man', 'densenet'), ('man', 'swin')]
# In both tiers, of each kind one.
ONE_OF_EACH = [('man', 'cifar_resnet20'), ('manpp', 'vit')]
every_case = pytest.mark.parametrize(('method', 'backbone'), in_tiers(CASES, FAST))
every_model = pytest.mark.parametrize(('method', 'backbone'), in_tiers(ALL, FAST_ALL))


def _run(model, steps=2, hooks=None, count=4):
    runner = make_runner(model, [MomentumUpdateHook()] if hooks is None else hooks)
    for i in range(steps):
        step(runner, random_batch(count, model.input_shape[1], seed=i))
    return runner


@every_model
def test_no_gradient_reaches_another_block(method, backbone):
    """A loss that is off in all blocks but one leaves the others without gradient."""
    size = image_size(backbone)
    model = build_model(method, backbone, size)
    data = model.data_preprocessor(random_batch(4, size), True)
    batch = model.local_batch(data['inputs'], data['data_samples'])
    start_heads(model)
    x = data['inputs']
    for k, block in enumerate(model.local_blocks):
        model.zero_grad()
        # As train_step, but with an input that could carry a gradient back.
        x, losses = block(x, batch)
        assert not x.requires_grad
        sum(losses.values()).backward()
        inside = {id(p) for p in block.parameters()}
        for name, p in model.named_parameters():
            if id(p) not in inside:
                assert p.grad is None, (k, name)
        trained = [p for p in block.parameters() if p.requires_grad]
        assert all(p.grad is not None for p in trained), k


@cache
def _three_steps(method, backbone):
    """States after three steps and, in a file, after two; what several tests look at."""
    model = build_model(method, backbone)
    runner = _run(model, steps=2)
    file = io.BytesIO()
    state = dict(model=model.state_dict(), optim_wrapper=runner.optim_wrapper.state_dict())
    torch.save(state, file)
    step(runner, random_batch(4, seed=2))
    return model.state_dict(), file


@every_case
def test_stepping_block_by_block_is_one_step_at_the_end_bit_for_bit(method, backbone):
    """Written out: all blocks forward and backward, then one optimizer over all."""
    other = build_model(method, backbone)
    sgd = torch.optim.SGD(
        [p for p in other.parameters() if p.requires_grad],
        lr=0.1,
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-4,
        fused=True,
    )
    blocks = other.local_blocks
    momentum = METHODS[method]['type'] == 'MomentumAuxHead'
    start_heads(other)
    for i in range(3):
        data = other.data_preprocessor(random_batch(4, seed=i), True)
        batch = other.local_batch(data['inputs'], data['data_samples'])
        x = data['inputs']
        for block in blocks:
            x, losses = block(x, batch)
            BaseModel.parse_losses(other, losses)[0].backward()
        sgd.step()
        sgd.zero_grad()
        for k, head in enumerate(other.aux_heads if momentum else ()):
            source = blocks[k + 1].first_unit
            for old, new in zip(head.momentum_unit.parameters(), source.parameters(), strict=True):
                old.copy_(old * 0.995 + new.detach() * (1 - 0.995))
            head.num_updates += 1
    for key, value in _three_steps(method, backbone)[0].items():
        assert torch.equal(value, other.state_dict()[key]), key


@every_case
def test_resumed_training_is_the_uninterrupted_one_bit_for_bit(method, backbone):
    whole, file = _three_steps(method, backbone)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    torch.manual_seed(5)
    resumed = MODELS.build(model_cfg(method, backbone)).train()
    resumed.load_state_dict(state['model'])
    runner = make_runner(resumed, [MomentumUpdateHook()])
    runner.optim_wrapper.load_state_dict(state['optim_wrapper'])
    step(runner, random_batch(4, seed=2))
    for key, value in whole.items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def _plain_cfg(cfg):
    """The same network as mmpretrain's own ImageClassifier."""
    cfg = copy.deepcopy(cfg)
    for key in ('splitter', 'input_shape', 'aux_head'):
        del cfg[key]
    return dict(cfg, type='mmpretrain.ImageClassifier')


@every_model
def test_a_trained_model_without_aux_heads_is_the_plain_classifier(method, backbone):
    size = image_size(backbone)
    model = build_model(method, backbone, size)
    if (method, backbone) in CASES:
        model.load_state_dict(_three_steps(method, backbone)[0])
    else:
        _run(model, steps=1)
    plain = MODELS.build(_plain_cfg(model_cfg(method, backbone, size)))
    state = {k: v for k, v in model.state_dict().items() if not k.startswith('aux_heads.')}
    plain.load_state_dict(state, strict=True)
    count = sum(p.numel() for p in plain.parameters())
    aux = sum(p.numel() for p in model.aux_heads.parameters())
    assert sum(p.numel() for p in model.parameters()) == count + aux
    model.eval()
    plain.eval()
    data = random_batch(4, size, seed=9)
    for ours, theirs in zip(model.val_step(data), plain.val_step(data), strict=True):
        assert torch.equal(ours.pred_score, theirs.pred_score)
        assert torch.equal(ours.pred_label, theirs.pred_label)


def _man(backbone):
    """MAN; InfoPro, its usual host, takes no vectors."""
    return 'man-greedy' if backbone == VECTORS else 'man'


@pytest.mark.parametrize('backbone', in_tiers(TRAINED, FAST_BACKBONES))
def test_blocks_are_the_network_and_one_of_them_is_backpropagation(backbone):
    """Against mmpretrain's own classifier, and against the uncut network."""
    cfg = model_cfg(_man(backbone), backbone, image_size(backbone))
    check_one_block_is_backpropagation(cfg)
    count = sum(map(len, MODELS.build(cfg).block_units))
    check_logits_however_cut(cfg, (4, count))


@pytest.mark.parametrize('backbone', in_tiers(TRAINED, FAST_BACKBONES))
def test_every_unit_can_be_a_block_whose_next_is_averaged(backbone):
    """Small images, so that maps of one pixel are among them where there is room."""
    size = min(image_size(backbone), 32)
    count = len(build_model('man', backbone, size, num_blocks=1).block_units[0])
    splitter = dict(num_blocks=count, strategy='uniform', stem='own')
    model = build_model(_man(backbone), backbone, size, **splitter)
    runner = make_runner(model, [MomentumUpdateHook()])
    sources = [list(block.first_unit.parameters()) for block in model.local_blocks[1:]]
    before = [[p.detach().clone() for p in source] for source in sources]
    step(runner, random_batch(4, size))
    for head, olds, news in zip(model.aux_heads, before, sources, strict=True):
        for average, old, new in zip(head.momentum_unit.parameters(), olds, news, strict=True):
            torch.testing.assert_close(average, old * 0.995 + new.detach() * 0.005)
    assert any(not torch.equal(o, n) for o, n in zip(before[0], sources[0], strict=True))
    step(runner, random_batch(4, size, seed=1))
    assert model.block_losses.isfinite().all()


@pytest.mark.parametrize('method', in_tiers(ONE_WRAPPED, ('man', 'infopro-imagenet')))
def test_heads_take_maps_of_one_pixel(method):
    model = build_model(method, 'resnet18', 32, num_blocks=9, stem='own')
    assert model.block_units[-2][-1].output_shape[1:] == (1, 1)
    _run(model, steps=1)
    assert model.block_losses.isfinite().all()


LEARNT = [(method, 'cifar_resnet20') for method in ONE_WRAPPED]
LEARNT += [('manpp', 'vit'), ('manpp-two-units', 'vit')]


@pytest.mark.parametrize(('method', 'backbone'), in_tiers(LEARNT, ONE_OF_EACH))
def test_training_lowers_every_local_loss(method, backbone):
    model = build_model(method, backbone)
    runner = make_runner(
        model, [MomentumUpdateHook()], optimizer=dict(type='SGD', lr=0.02, momentum=0.9)
    )
    data = random_batch()
    losses = []
    for _ in range(25):
        log_vars = step(runner, data)
        losses.append(model.block_losses)
        assert log_vars['loss'] == model.block_losses[-1]
        assert log_vars['local_loss_max'] == model.block_losses[:-1].max()
        assert not any(value.requires_grad for value in log_vars.values())
    assert torch.all(losses[-1] < losses[0])


def test_views_share_everything_with_the_classifier_and_follow_replaced_norms():
    model = build_model('man')
    names = dict(model.named_parameters())
    seen = {}
    for block in model.local_blocks:
        seen.update(block.named_parameters())
    assert seen.keys() == names.keys()
    assert all(seen[name] is names[name] for name in names)
    # SyncBN conversion comes between building and training.
    model = build_model('man')
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for block in model.local_blocks:
        norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        assert norms and all(isinstance(m, nn.SyncBatchNorm) for m in norms)


def test_a_copy_trains_itself_and_not_the_original():
    model = build_model('man')
    _ = model.local_blocks
    copied = copy.deepcopy(model)
    before = copy.deepcopy(model.state_dict())
    _run(copied, steps=1)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert not torch.equal(copied.backbone.conv1.weight, model.backbone.conv1.weight)


def test_heads_may_differ_by_block():
    cfg = model_cfg('man')
    cfg['aux_head'] = [METHODS['greedy'], METHODS['man'], METHODS['dgl']]
    model = MODELS.build(cfg)
    kinds = [type(head).__name__ for head in model.aux_heads]
    assert kinds == ['LinearAuxHead', 'MomentumAuxHead', 'DGLAuxHead']
    _run(model.train(), steps=1)


def test_end_to_end_loss_is_refused_for_training_only():
    model = build_model('greedy')
    data = model.data_preprocessor(random_batch(4), True)
    with pytest.raises(RuntimeError, match='would train all 4 local blocks end to end'):
        model(data['inputs'], data['data_samples'], mode='loss')
    with torch.no_grad():
        assert 'loss' in model(data['inputs'], data['data_samples'], mode='loss')


class TestBadInput:
    """One clear error that names the key, its value and what would be right."""

    @pytest.mark.parametrize(
        ('change', 'message'),
        [
            (dict(aux_head=None), 'model.aux_head is missing: 4 local blocks'),
            (
                dict(aux_head=[METHODS['greedy']] * 2),
                'model.aux_head lists 2 heads, but 3 blocks have one .num_blocks=4',
            ),
            (
                dict(aux_head=dict(type='LinearAuxHead', width=3)),
                "model.aux_head has the unknown key 'width' .value 3.*LinearAuxHead knows",
            ),
            (dict(aux_head=dict(weight=3)), "model.aux_head should be a dict with the key 'type'"),
            (dict(aux_head=dict(type='SupConLoss')), "type='SupConLoss' is not a kind of AuxHead"),
            (
                dict(aux_head=dict(type='LinearAuxHead', weight=[1, 2])),
                'weight has 2 weights, but there are 3 blocks with an aux head',
            ),
            (dict(aux_head=dict(METHODS['infopro'], task_weight=None)), 'task_weight=None'),
            (
                dict(aux_head=dict(type='InfoProAuxHead')),
                'model.aux_head lacks reconstruction_weight, task_weight',
            ),
            (
                dict(splitter=dict(type='LocalBlockSplitter', blocks=4)),
                "model.splitter has the unknown key 'blocks' .value 4",
            ),
            (dict(input_shape=32), 'model.input_shape=32 should be .channels, height, width'),
            (dict(input_shape=(3, 0, 32)), 'model.input_shape'),
            (dict(head=None), 'model.head is missing'),
            (
                dict(data_preprocessor=dict(num_classes=100)),
                'head.num_classes=10 differs from data_preprocessor.num_classes=100',
            ),
        ],
    )
    def test_when_built(self, change, message):
        with pytest.raises((ValueError, TypeError), match=message):
            MODELS.build(dict(model_cfg('greedy'), **change))

    def test_one_optimizer_for_all_blocks(self):
        model = build_model('greedy')
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        with pytest.raises(ValueError, match="constructor should be 'BlockOptimWrapperConstr"):
            model.train_step(random_batch(4), wrapper)

    def test_images_of_another_size(self):
        model = build_model('greedy')
        with pytest.raises(ValueError, match=r'input_shape=\(3, 16, 16\) differs.*\(3, 32, 32\)'):
            step(make_runner(model), random_batch(4, 32))


@MODELS.register_module()
class _FixedWidthHead(MODELS.get('LinearAuxHead')):
    """A user's head that fits 8 channels only."""

    def __init__(self, context):
        super().__init__(context)
        self.fc = nn.Linear(8, 10)


@MODELS.register_module()
class _LosslessHead(MODELS.get('LinearAuxHead')):
    def loss(self, features, batch):
        return dict(accuracy=features.mean())


@pytest.mark.parametrize(
    ('type', 'message'),
    [
        ('_FixedWidthHead', r'_FixedWidthHead of block 1 does not fit its input.*\(16, 8, 8\)'),
        ('_LosslessHead', '_LosslessHead of block 0 should return a dict of tensors'),
    ],
)
def test_a_head_that_does_not_fit_is_named_when_the_model_is_built(type, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(model_cfg('greedy'), aux_head=dict(type=type)))
    host = dict(type='MomentumAuxHead', host=dict(type=type))
    with pytest.raises(ValueError, match='MomentumAuxHead with host ' + type):
        MODELS.build(dict(model_cfg('greedy'), aux_head=host))


def test_trying_the_tail_leaves_the_log_alone(caplog):
    """torch logs a traceback of what fails on fake tensors; the error says it in one line."""
    cfg = model_cfg('greedy')
    cfg['head']['in_channels'] = 7
    with pytest.raises(UserError, match='model.head=.*in_channels=7.* do not fit the features'):
        MODELS.build(cfg)
    assert not caplog.records
