import copy
import inspect
import sys
from pathlib import Path

import pytest
import torch

import mman
from mman.models.aux_heads import AuxHead, LocalBatch
from mman.registry import MODELS
from tests.helpers.settings import METHODS, build_model, model_cfg, random_batch, start_heads


def _inputs(model, k, seed=0):
    torch.manual_seed(seed)
    return torch.randn(4, *model.block_units[k][-1].output_shape, requires_grad=True)


def _batch():
    data = random_batch(4)
    return LocalBatch(data['inputs'] / 255, data['data_samples'])


# The host only sees what comes out; the second block ends a stage.
@pytest.mark.parametrize(('method', 'k'), [('man', 0), ('manpp', 1), ('man-auglocal', 2)])
def test_the_host_sees_the_mix_of_two_copies_of_the_next_first_unit(method, k):
    model = build_model(method)
    head, source = model.aux_heads[k], model.local_blocks[k + 1].first_unit
    head.start(source)
    with torch.no_grad():
        for p in head.bias_unit.parameters():
            p.add_(0.1)
        if head.scale is not None:
            head.scale.fill_(0.3)
    x = _inputs(model, k)
    bias = copy.deepcopy(source)
    with torch.no_grad():
        for p in bias.parameters():
            p.add_(0.1)
    average = copy.deepcopy(source)
    s = 0.3
    expected = (
        s * bias(x) + (2 - s) * average(x)
        if METHODS[method]['mix'] == 'scaled'
        else bias(x) + average(x)
    )
    assert torch.allclose(head.mixed(x), expected, atol=1e-6)
    assert head.host.context.feature_shape == model.block_units[k + 1][0].output_shape


@pytest.mark.parametrize('backbone', ['cifar_resnet20', 'vit'])
def test_the_mix_passes_copies_of_the_units_that_follow(backbone):
    """MAN++ on vision transformers, with as many copies as are asked for."""
    cfg = model_cfg('manpp-two-units', backbone, num_blocks=2, strategy='uniform')
    cfg['aux_head']['bias_units'] = 3
    torch.manual_seed(0)
    model = MODELS.build(cfg).train()
    (head,) = model.aux_heads
    first, second, third = (unit.module for unit in model.block_units[1][:3])
    # The copies were made before.
    model.init_weights()
    start_heads(model)
    assert all(p.requires_grad for p in head.later_bias_units.parameters())
    with torch.no_grad():
        head.scale.fill_(0.3)
        for p in head.bias_unit.parameters():
            p.add_(0.1)
        for p in head.later_bias_units[1].parameters():
            p.mul_(0.5)
    x = _inputs(model, 0)
    bias, last = copy.deepcopy(first), copy.deepcopy(third)
    with torch.no_grad():
        for p in bias.parameters():
            p.add_(0.1)
        for p in last.parameters():
            p.mul_(0.5)
    expected = last(second(0.3 * bias(x) + 1.7 * first(x)))
    assert torch.allclose(head.mixed(x), expected, atol=1e-5)
    assert head.host.context.feature_shape == model.block_units[1][2].output_shape
    assert len(head.host.context.next_units) == 0 and head.num_sources == 3
    sum(head.loss(x, _batch()).values()).backward()
    assert all(p.grad is not None for p in head.later_bias_units.parameters())


@pytest.mark.parametrize(
    'method', ['man', *(f'man-{host}' for host in ('greedy', 'dgl', 'predsim', 'auglocal'))]
)
def test_the_loss_enters_its_own_file_the_hosts_and_the_networks_alone(method):
    """Without recomputation nothing else of the package is between the wrapper and torch."""
    model = build_model(method)
    start_heads(model)
    head, x, batch = model.aux_heads[0], _inputs(model, 0), _batch()
    networks = [type(m) for m in head.modules() if not isinstance(m, AuxHead)]
    allowed = {inspect.getfile(kind) for kind in (type(head), type(head.host), *networks)}
    entered = set()
    before = sys.getprofile()
    sys.setprofile(lambda frame, *_: entered.add(frame.f_code.co_filename))
    try:
        head.loss(x, batch)
    finally:
        sys.setprofile(before)
    package = str(Path(mman.__file__).parent)
    found = {name for name in entered if name.startswith(package)}
    assert {inspect.getfile(type(head)), inspect.getfile(type(head.host))} <= found <= allowed


def test_a_copy_of_the_last_unit_is_without_what_comes_before_the_head():
    """So that every host sees tokens, and the final norm is the network's alone."""
    model = build_model('man', 'vit', num_blocks=8, strategy='uniform')
    last = model.block_units[-1][0]
    assert list(last.output.parts) == ['ln1'] and last.final_shape == (24,)
    head = model.aux_heads[-1]
    names = [name for name, _ in model.backbone.layers[7].named_parameters()]
    assert [name for name, _ in head.momentum_unit.named_parameters()] == names
    assert head.host.context.feature_shape == (17, 24)


@pytest.mark.parametrize('method', ['man', 'manpp', 'manpp-predsim', 'manpp-two-units'])
def test_gradients_flow_through_the_average_but_not_into_it(method):
    model = build_model(method)
    head = model.aux_heads[1]
    start_heads(model)
    with torch.no_grad():
        for p in head.bias_unit.parameters():
            p.zero_()
    x = _inputs(model, 1)
    sum(head.loss(x, _batch()).values()).backward()
    # With the bias unit's weights zero, only the average passes them on.
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in head.momentum_unit.parameters())
    assert all(p.grad is not None for p in head.host.parameters())
    assert all(p.grad is not None for p in head.bias_unit.parameters())


def test_the_average_stays_in_train_mode_and_keeps_its_own_statistics():
    model = build_model('man')
    head = model.aux_heads[0]
    head.start(model.local_blocks[1].first_unit)
    model.eval()
    assert not head.bias_unit.training and not head.host.training
    assert all(m.training for m in head.momentum_unit.modules())
    before = copy.deepcopy(model.backbone.state_dict())
    head.mixed(_inputs(model, 0))
    assert head.momentum_unit.bn1.running_mean.abs().sum() > 0
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize('momentum_init', ['source', 'random'])
@pytest.mark.parametrize('bias_init', ['source', 'random'])
def test_where_the_two_units_start(momentum_init, bias_init):
    torch.manual_seed(0)
    cfg = model_cfg('man')
    cfg['aux_head'].update(momentum_init=momentum_init, bias_init=bias_init)
    model = MODELS.build(cfg)
    model.init_weights()
    for k, head in enumerate(model.aux_heads):
        source = model.local_blocks[k + 1].first_unit
        head.start(source)
        for unit, how in ((head.momentum_unit, momentum_init), (head.bias_unit, bias_init)):
            same = torch.equal(unit.conv1.weight, source.conv1.weight)
            assert same == (how == 'source')
            # He initialisation, as the backbone's.
            std = (2 / (9 * unit.conv1.out_channels)) ** 0.5
            assert unit.conv1.weight.std().item() == pytest.approx(std, rel=0.15)
        aux_conv = head.host.aux_net[0]
        assert aux_conv.weight.std().item() == pytest.approx(
            (2 / (9 * aux_conv.out_channels)) ** 0.5, rel=0.15
        )
        assert not torch.equal(head.momentum_unit.conv1.weight, head.bias_unit.conv1.weight) or (
            momentum_init == bias_init == 'source'
        )


def test_a_head_that_nothing_updates_is_refused():
    model = build_model('man')
    with pytest.raises(RuntimeError, match='add dict.type="MomentumUpdateHook". to custom_hooks'):
        model.aux_heads[0].loss(_inputs(model, 0), _batch())


def test_the_head_does_not_hold_the_backbone():
    model = build_model('man')
    own = {id(p) for p in model.backbone.parameters()}
    copied = copy.deepcopy(model.aux_heads[0])
    assert copied.context.next_units == ()
    assert not own & {id(p) for p in model.aux_heads.parameters()}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(mix='mean'), "mix='mean' of MomentumAuxHead should be one of sum, scaled"),
        (dict(momentum_init='zero'), "momentum_init='zero'"),
        (dict(bias_init='zero'), "bias_init='zero'"),
        (dict(decay=0.9), "aux_head has the unknown key 'decay' .value 0.9.*MomentumAuxHead knows"),
        (dict(host=dict(type='LinearAuxHead', wieght=1)), "unknown key 'wieght'.*mean 'weight'"),
        (dict(host=dict(type='NoSuchHead')), "host.type='NoSuchHead' is not registered"),
        (dict(host=METHODS['man']), 'not another MomentumAuxHead'),
        (dict(bias_units=0), 'bias_units=0 of MomentumAuxHead should be an integer from 1 to 6'),
        (dict(bias_units=True), 'bias_units=True'),
        (dict(bias_units=9), 'bias_units=9 .* the units after block 0'),
        (dict(host='LinearAuxHead'), "host should be a dict with the key 'type'"),
    ],
)
def test_bad_arguments(change, message):
    cfg = model_cfg('man')
    cfg['aux_head'].update(change)
    with pytest.raises(ValueError, match=message):
        MODELS.build(cfg)
