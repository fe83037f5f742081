"""AugLocal: depths and picks by the formulas, in fractions; copies of units on real tensors."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import nn

from mman.models.aux_heads import auglocal
from mman.models.splitters import Unit
from mman.models.splitters.adapters import find_adapter
from mman.models.splitters.rebuild import copy_unit, rebuild_unit
from mman.models.splitters.shapes import shaped_units
from mman.registry import MODELS, UNIT_REBUILDERS
from tests.helpers.heads import make_batch, make_context, make_head
from tests.helpers.settings import BACKBONES, model_cfg

RESIDUAL = [
    'cifar_resnet20',
    'resnet18',
    'resnet50',
    'resnetv1d50',
    'resnet_cifar18',
    'seresnet50',
    'resnext50',
]
WIDTHS = (8, 8, 16, 32)


def _backbone(depth=20, **kwargs):
    return MODELS.build(dict(type='CIFARResNet', depth=depth, widths=WIDTHS, **kwargs))


def _units(backbone, size=16):
    return shaped_units(backbone, find_adapter(backbone)(backbone), (3, size, size))


def _head(units, end, index=None, num_blocks=None, init=None, **cfg):
    """The head of a block that ends at a unit, every unit a block unless told otherwise."""
    context = make_context(
        units[end].output_shape,
        index=end if index is None else index,
        num_blocks=len(units) if num_blocks is None else num_blocks,
        next_units=tuple(units[end + 1 :]),
        unit_init_cfg=init,
        end=end,
    )
    return make_head(dict(type='AugLocalAuxHead', **cfg), context)


@pytest.fixture
def picked(monkeypatch):
    """Names of the units that heads copy, one list per head."""
    found, copies = [], auglocal._copies

    def new_list(*args):
        found.append([])
        return copies(*args)

    def recording(function):
        def record(unit, *args):
            found[-1].append(unit.name)
            return function(unit, *args)

        return record

    monkeypatch.setattr(auglocal, '_copies', new_list)
    for name in ('copy_unit', 'rebuild_unit'):
        monkeypatch.setattr(auglocal, name, recording(getattr(auglocal, name)))
    return found


def _depths(depth, num_blocks, tau=Fraction(1, 2)):
    """METHOD: d_l of every aux network."""
    found = []
    for block in range(num_blocks - 1):
        a = block * tau / (num_blocks - 2)
        found.append(max(1, round(depth * (1 - a) + a)))
    return found


def _picks(end, count, depth):
    """METHOD: positions of the picked units among ``count``."""
    rest = count - end - 1
    if rest < depth:
        return list(range(end + 1, count))
    return [round(end + Fraction(rest, depth) * i) for i in range(1, depth + 1)]


# --- Which units ---


@pytest.mark.parametrize(
    ('depth', 'count', 'd'),
    [(32, 16, 1), (32, 16, 5), pytest.param(110, 55, 4, marks=pytest.mark.full)],
)
def test_every_head_of_a_published_network(depth, count, d, picked):
    units = _units(_backbone(depth))
    names = [unit.name for unit in units]
    num_blocks = count - d
    assert len(names) == count
    for block in range(num_blocks - 1):
        _head(units, block, num_blocks=num_blocks, depth=d)
    depths = _depths(d, num_blocks)
    expected = [_picks(block, count, depths[block]) for block in range(num_blocks - 1)]
    assert picked == [[names[i] for i in picks] for picks in expected]
    if (depth, d) == (32, 5):
        assert expected[0] == [3, 6, 9, 12, 15] and expected[9] == [11, 13, 15]
        assert expected[1] == [4, 7, 9, 12, 15] and expected[3] == [6, 9, 12, 15]


@pytest.mark.parametrize(
    ('tau', 'num_blocks', 'depths'),
    [(0, 6, [4] * 5), (1, 6, [4, 3, 2, 2, 1]), (1.0, 3, [4, 1]), (0.5, 2, [4])],
)
def test_pyramid(tau, num_blocks, depths):
    found = [auglocal.pyramid_depth(k, num_blocks, 4, tau) for k in range(num_blocks - 1)]
    assert found == depths


def _whole_model(aux_head, **splitter):
    cfg = model_cfg('auglocal', **splitter)
    cfg['aux_head'] = aux_head
    cfg['backbone']['depth'] = 32
    model = MODELS.build(cfg)
    return model, [unit.name for block in model.block_units for unit in block]


AUGLOCAL = dict(type='AugLocalAuxHead')
PAPER = dict(num_blocks=11, strategy='single', stem='own')


def test_blocks_of_several_units_count_from_their_last(picked):
    model, names = _whole_model(AUGLOCAL, num_blocks=4, strategy='uniform')
    ends = [names.index(end) for end in model.block_ends[:-1]]
    depths = _depths(5, 4)
    assert picked == [[names[i] for i in _picks(end, 16, depths[k])] for k, end in enumerate(ends)]


def test_a_host_picks_after_the_momentum_unit(picked):
    _, names = _whole_model(dict(type='MomentumAuxHead', host=AUGLOCAL), **PAPER)
    depths = _depths(5, 11)
    assert picked == [[names[i] for i in _picks(k + 1, 16, depths[k])] for k in range(10)]


def test_a_host_without_units_left_classifies_what_it_sees(picked):
    model, _ = _whole_model(
        dict(type='MomentumAuxHead', host=AUGLOCAL), num_blocks=16, stem='own', strategy='uniform'
    )
    assert picked[-2:] == [['3.4'], []]
    host = model.aux_heads[-1].host
    kinds = [type(layer).__name__ for layer in host.net]
    assert kinds == ['AdaptiveAvgPool2d', 'Flatten', 'Linear']
    assert host.net[-1].in_features == 32


def test_the_config_of_the_paper():
    cfg = Config.fromfile('configs/auglocal/resnet32_k11_cifar10.py')
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    assert [head.num_units for head in model.aux_heads] == [5, 5, 5, 4, 4, 4, 4, 3, 3, 3]
    assert [len(block) for block in model.block_units] == [1] * 10 + [6]


# --- What they become ---


@pytest.mark.parametrize('name', RESIDUAL)
def test_a_rebuilt_unit_takes_any_channels_and_stride(name):
    cfg, _ = BACKBONES[name]
    backbone = MODELS.build(dict(cfg))
    for unit in _units(backbone, 64)[1::2]:
        for channels in (unit.module.in_channels, 12):
            for stride in (1, 2):
                rebuilt = rebuild_unit(unit, channels, stride)
                y = rebuilt(torch.randn(2, channels, 9, 9))
                side = 9 if stride == 1 else 5
                assert y.shape == (2, unit.output_shape[0], side, side), (unit.name, stride)


@pytest.mark.parametrize('name', RESIDUAL)
def test_a_unit_in_its_own_place_keeps_its_form_but_not_its_weights(name):
    backbone = MODELS.build(dict(BACKBONES[name][0]))
    unit = _units(backbone, 64)[3]
    source = unit.module
    before = {key: value.clone() for key, value in source.state_dict().items()}
    source.requires_grad_(False)
    rebuilt = rebuild_unit(unit, source.in_channels, source.stride)
    assert str(rebuilt) == str(source)
    assert all(p.requires_grad for p in rebuilt.parameters())
    for (key, ours), theirs in zip(rebuilt.named_parameters(), source.parameters(), strict=True):
        assert ours.data_ptr() != theirs.data_ptr()
        # Weights of norm layers are ones in both.
        assert ours.ndim == 1 or not torch.equal(ours, theirs), key
    for key, value in source.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_the_strided_convolution_is_that_of_the_style():
    for style, strides in (('pytorch', (1, 2)), ('caffe', (2, 1))):
        backbone = MODELS.build(
            dict(type='ResNet', depth=50, base_channels=8, stem_channels=8, style=style)
        )
        rebuilt = rebuild_unit(_units(backbone, 64)[2], 24, 2)
        found = (rebuilt.conv1.stride[0], rebuilt.conv2.stride[0])
        assert found == strides and rebuilt.downsample[0].stride == (2, 2)


def _strides_and_sides(units, end, names):
    chosen = [unit for unit in units if unit.name in names.split()]
    context = make_context(units[end].output_shape, next_units=tuple(units[end + 1 :]), end=end)
    copies = auglocal._copies(context, [units.index(unit) - end for unit in chosen])
    x, sides = torch.randn(2, *units[end].output_shape), []
    for copied, unit in zip(copies, chosen, strict=True):
        x = copied(x)
        assert x.shape[1] == unit.output_shape[0]
        sides.append(x.shape[2])
    return [copied.stride for copied in copies], sides


def test_copies_follow_the_sizes_of_the_backbone():
    units = _units(_backbone(), 30)
    assert _strides_and_sides(units, 0, '1.1 2.1 2.2 3.2') == (
        [1, 2, 1, 2],
        [30, 15, 15, 8],
    )


def test_after_a_jump_over_two_stages_the_next_copy_strides_too():
    backbone = MODELS.build(dict(type='ResNet', depth=18, base_channels=8, stem_channels=8))
    units = _units(backbone, 64)
    assert units[0].output_shape == (8, 16, 16)
    assert _strides_and_sides(units, 0, '3.0 4.0 4.1') == ([2, 2, 2], [8, 4, 2])
    assert _strides_and_sides(units, 0, '3.0 3.1 4.1') == ([2, 2, 2], [8, 4, 2])
    assert _strides_and_sides(units, 0, '4.1') == ([2], [8])


@pytest.mark.parametrize(
    ('depth', 'tail'),
    [
        (1, ['AdaptiveAvgPool2d', 'Flatten', 'BatchNorm1d', 'Linear']),
        (2, ['AdaptiveAvgPool2d', 'Flatten', 'Linear']),
    ],
)
def test_a_norm_comes_before_the_linear_layer_of_one_unit(depth, tail):
    head = _head(_units(_backbone()), 0, depth=depth)
    kinds = [type(layer).__name__ for layer in head.net]
    assert kinds == ['BasicBlock'] * depth + tail
    assert head.net[-1].in_features == 32 and head.net[-1].out_features == 10


# --- The head ---


def _batch():
    labels = [0, 1, 1, 9, 0, 5]
    return make_batch(torch.zeros(6, 3, 16, 16), labels), torch.tensor(labels)


def test_loss_and_gradients():
    head = _head(_units(_backbone()), 2, num_blocks=10, depth=3, weight=0.5)
    batch, labels = _batch()
    x = torch.randn(6, *head.context.feature_shape, requires_grad=True)
    losses = head.loss(x, batch)
    y = x
    for layer in head.net[: head.num_units]:
        y = layer(y)
    logits = y.mean((2, 3)) @ head.net[-1].weight.T + head.net[-1].bias
    expected = 0.5 * F.cross_entropy(logits, labels)
    assert list(losses) == ['loss_task']
    assert losses['loss_task'].item() == pytest.approx(expected.item(), rel=1e-5)
    losses['loss_task'].backward()
    assert x.grad.abs().max() > 0
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in head.parameters())


def test_copies_are_initialised_like_the_backbone():
    backbone = _backbone()
    units = _units(backbone)
    head = _head(units, 5, init=backbone.init_cfg)
    head.init_weights()
    weight = head.net[head.num_units - 1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 32)) ** 0.5, rel=0.05)
    assert not torch.equal(weight, units[-1].module.conv2.weight)


def test_a_backbone_without_initialisation_leaves_torchs_own():
    units = _units(_backbone())
    head = _head(units, 5)
    head.init_weights()
    weight = head.net[head.num_units - 1].conv2.weight
    # Uniform within 1 / sqrt(fan in).
    assert weight.abs().max() <= 1.001 * (9 * 32) ** -0.5
    assert not torch.equal(weight, units[-1].module.conv2.weight)


class _OwnUnit(nn.Conv2d):
    """A user's unit."""


UNIT_REBUILDERS.register_module(
    name='_OwnUnit',
    module=lambda unit, channels, stride: nn.Conv2d(channels, unit.out_channels, 1, stride),
)


def test_a_rebuilder_of_ones_own():
    rebuilt = rebuild_unit(Unit(1, 0, {'a': _OwnUnit(4, 6, 1)}), 5, 2)
    assert rebuilt(torch.zeros(1, 5, 8, 8)).shape == (1, 6, 4, 4)


def test_units_that_cannot_be_rebuilt_are_named():
    with pytest.raises(ValueError, match='unit 2.1 is a Conv2d, which cannot be rebuilt.*BasicBl'):
        rebuild_unit(Unit(2, 1, {'a': nn.Conv2d(4, 6, 1)}), 5, 2)
    unit = _units(_backbone())[1]
    unit.module.conv2 = nn.Sequential(unit.module.conv2)
    with pytest.raises(ValueError, match='BasicBlock cannot be rebuilt.*not both plain'):
        rebuild_unit(unit, 5, 2)


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(depth=0), 'depth=0 of AugLocalAuxHead should be an integer from 1 on'),
        (dict(depth=True), 'depth=True'),
        (dict(depth=2.0), 'depth=2.0'),
        (dict(tau=-0.1), 'tau=-0.1 of AugLocalAuxHead should be a number from 0 to 1'),
        (dict(tau=1.5), 'tau=1.5'),
        (dict(tau='0.5'), "tau='0.5'"),
        (dict(tau=True), 'tau=True'),
        (dict(weight=0), 'weight is 0 there'),
    ],
)
def test_bad_arguments(cfg, message):
    with pytest.raises(ValueError, match=message):
        _head(_units(_backbone()), 0, **cfg)


def _token_units(extra):
    backbone = MODELS.build(
        dict(
            type='VisionTransformer',
            arch=dict(embed_dims=8, num_layers=6, num_heads=2, feedforward_channels=16),
            img_size=16,
            patch_size=4,
            with_cls_token=bool(extra),
            out_type='cls_token' if extra else 'avg_featmap',
        )
    )
    return _units(backbone)


@pytest.mark.parametrize('extra', [1, 0])
def test_layers_on_tokens_are_copied_and_the_class_token_or_the_mean_classified(extra):
    units = _token_units(extra)
    assert units[1].output_shape == (16 + extra, 8)
    head = _head(units, 1, num_blocks=4, depth=2, tau=0.0)
    batch, labels = _batch()
    x = torch.randn(6, *head.context.feature_shape, requires_grad=True)
    y = head.net[1](head.net[0](x))
    # Picks 3.5, rounded to even, and the last layer, without the network's final norm.
    assert [type(layer).__name__ for layer in head.net[:2]] == ['TransformerEncoderLayer'] * 2
    pooled = y[:, 0] if extra else y.mean(1)
    expected = F.cross_entropy(pooled @ head.net[-1].weight.T + head.net[-1].bias, labels)
    assert head.loss(x, batch)['loss_task'].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_unit_of_any_kind_is_copied_for_its_own_input():
    unit = Unit(2, 1, {'a': nn.Conv2d(4, 6, 1)})
    copied = copy_unit(unit)
    assert isinstance(copied, nn.Conv2d) and copied.weight.requires_grad
    assert not torch.equal(copied.weight, unit.module.weight)
