"""Units are views: one after the other they are the backbone, and own nothing."""

import copy

import pytest
import torch
from torch import nn

from mman.models.splitters import LocalBlockSplitter, Unit
from mman.models.splitters.adapters import find_adapter
from mman.models.splitters.shapes import shaped_units
from mman.registry import MODELS, UNIT_ADAPTERS
from mman.utils import UserError
from tests.helpers.cutting import check_units
from tests.helpers.settings import BACKBONES, FAST_BACKBONES, image_size, in_tiers


def _backbone(name):
    torch.manual_seed(0)
    return MODELS.build(copy.deepcopy(BACKBONES[name][0]))


def _units(backbone):
    return find_adapter(backbone)(backbone)


every_backbone = pytest.mark.parametrize('name', in_tiers(BACKBONES, FAST_BACKBONES))


@every_backbone
def test_units_in_a_row_are_the_backbone(name):
    check_units(_backbone(name), image_size(name))


DENSE = dict(growth_rate=4, depths=[3, 1], init_channels=8)
NEXT = dict(depths=[1, 2, 1], channels=[8, 8, 16])


@pytest.mark.full
@pytest.mark.parametrize(
    ('cfg', 'count'),
    [
        (dict(type='ResNetV1c', depth=50, base_channels=8, stem_channels=8), 17),
        (dict(type='SEResNeXt', depth=50, groups=4, width_per_group=4), 17),
        (dict(type='Res2Net', depth=50), 17),
        (dict(type='ResNeSt', depth=50), 17),
        (dict(type='RegNet', arch='regnetx_400mf'), 23),
        (dict(type='VGG', depth=11), 8),
        (dict(type='VGG', depth=16, with_last_pool=False, ceil_mode=True), 13),
        (dict(type='MobileNetV2', widen_factor=0.25), 19),
        (dict(type='EfficientNet', arch='b0', drop_path_rate=0.2), 18),
        (dict(type='EfficientNet', arch='es'), 20),
        (dict(type='EfficientNetV2', arch='b0'), 23),
        (dict(type='DenseNet', arch=DENSE, drop_rate=0.2), 5),
        (
            dict(
                type='ConvNeXt',
                arch=NEXT,
                out_indices=(2,),
                gap_before_final_norm=False,
                use_grn=True,
                layer_scale_init_value=0.0,
                linear_pw_conv=False,
                drop_path_rate=0.5,
            ),
            5,
        ),
    ],
    ids=lambda value: value['type'] if isinstance(value, dict) else str(value),
)
def test_relatives_have_units_too(cfg, count):
    backbone = MODELS.build(copy.deepcopy(cfg))
    assert len(check_units(backbone, 32)) == count


@every_backbone
def test_shapes_are_those_of_a_real_pass_and_the_pass_leaves_no_trace(name):
    backbone = _backbone(name)
    before = copy.deepcopy(backbone.state_dict())
    size = image_size(name)
    shaped = shaped_units(backbone, _units(backbone), (3, size, size))
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, before[key]), key
    x = torch.randn(2, 3, size, size)
    for unit in shaped:
        x = unit.module(x)
        assert unit.output_shape == tuple(x.shape[1:])
    assert unit.final_shape == tuple(backbone(torch.randn(2, 3, size, size))[-1].shape[1:])


@pytest.mark.parametrize(
    ('name', 'stages'),
    [
        ('resnet18', (2, 2, 2, 2)),
        # The first of two convolutions is the stem.
        ('vgg13_bn', (1, 2, 2)),
        ('mobilenet_v2', (1, 3, 3, 1)),
        ('efficientnet', (1, 2, 2, 1)),
        ('densenet', (2, 2, 2)),
        ('convnext', (1, 1, 2, 1)),
        ('swin', (1, 2, 2)),
        ('vit', (8,)),
        # Seven layers after the first, and the dropout before the classifier.
        ('mlp', (8,)),
    ],
)
def test_units_are_named_by_stage_and_index(name, stages):
    names = [f'{s}.{u}' for s, count in enumerate(stages, start=1) for u in range(count)]
    assert [unit.name for unit in _units(_backbone(name))] == ['stem', *names]


@pytest.mark.parametrize(
    ('name', 'unit', 'paths'),
    [
        ('resnet18', 'stem', ['conv1', 'bn1', 'relu', 'maxpool']),
        ('vgg13_bn', '1.0', ['features.1', 'features.2']),
        ('mobilenet_v2', '2.1', ['layer2.1']),
        ('mobilenet_v2', '4.0', ['conv2']),
        ('efficientnet', '3.0', ['layers.3.0']),
        ('efficientnet', '4.0', ['layers.4']),
        ('densenet', '1.0', ['stages.0.block.0']),
        ('densenet', '1.1', ['stages.0.block.1', 'transitions.0']),
        ('convnext', 'stem', ['downsample_layers.0']),
        ('convnext', '3.0', ['downsample_layers.2', 'stages.2.0']),
        ('convnext', '4.0', ['downsample_layers.3', 'stages.3.0', 'norm3']),
        ('swin', 'stem', ['patch_embed', 'drop_after_pos']),
        ('swin', '1.0', ['stages.0.blocks.0', 'stages.0.downsample']),
        ('swin', '3.1', ['stages.2.blocks.1', 'norm2']),
        ('vit', 'stem', ['patch_embed', 'cls_token', 'pos_embed', 'drop_after_pos', 'pre_norm']),
        ('vit', '1.7', ['layers.7', 'ln1']),
    ],
)
def test_units_take_along_what_has_no_name(name, unit, paths):
    (found,) = (u for u in _units(_backbone(name)) if u.name == unit)
    assert list(found.all_parts) == paths


@pytest.mark.parametrize('name', ['convnext', 'densenet', 'swin', 'vit'])
def test_a_unit_of_several_parts_follows_replaced_modules(name):
    backbone = _backbone(name)
    other = _backbone(name)
    for unit in _units(backbone):
        moved = unit.within(other)
        assert moved.name == unit.name and moved.compose is unit.compose
        ours = {id(p) for p in other.parameters()}
        assert {id(p) for p in moved.module_with_output.parameters()} <= ours


def test_a_dense_layer_hands_on_all_maps_before_it():
    """So that no gradient goes around a cut: a detached map detaches them all."""
    backbone = _backbone('densenet')
    stem, first, second, *_ = _units(backbone)
    x = first.module(stem.module(torch.randn(2, 3, 64, 64))).detach()
    second.module(x).sum().backward()
    reached = {name for name, p in backbone.named_parameters() if p.grad is not None}
    assert {name.split('.')[0] for name in reached} == {'stages', 'transitions'}
    assert all(name.startswith(('stages.0.block.1.', 'transitions.0.')) for name in reached)


def test_a_backbone_without_adapter_is_named():
    backbone = MODELS.build(dict(type='LeNet5'))
    with pytest.raises(ValueError, match="no unit adapter for backbone type 'LeNet5'"):
        find_adapter(backbone)


def test_more_than_the_last_map_is_refused():
    backbone = MODELS.build(dict(type='ResNet', depth=18, out_indices=(2, 3)))
    with pytest.raises(ValueError, match='set out_indices to the last stage'):
        shaped_units(backbone, _units(backbone), (3, 32, 32))


@pytest.mark.parametrize(
    ('cfg', 'size', 'message'),
    [
        (dict(type='VGG', depth=11, num_classes=10), 32, 'backbone.num_classes=10 gives VGG a'),
        (dict(type='DenseNet', memory_efficient=True), 32, 'backbone.memory_efficient=True would'),
        (dict(type='ConvNeXt', arch='atto'), 32, 'gap_before_final_norm=True .* set it to False'),
        (
            dict(type='ConvNeXt', arch='atto', gap_before_final_norm=False, out_indices=(1,)),
            32,
            'units of ConvNeXt give .320, 1, 1. where .* .80, 4, 4.: set out_indices to the last',
        ),
        (
            dict(type='ConvNeXt', arch='atto', gap_before_final_norm=False),
            16,
            r'ConvNeXt does not run on images of model.input_shape=\(3, 16, 16\).*Kernel size',
        ),
        (dict(type='MobileNetV2', out_indices=(6,)), 32, 'set out_indices to the last stage'),
        (dict(type='SparseResNet', depth=50), 32, 'SparseResNet does not run on .*AttributeErr'),
        (dict(type='SparseConvNeXt', arch='atto'), 32, 'SparseConvNeXt does not run on'),
    ],
)
def test_what_cannot_be_cut_is_refused_with_the_reason(cfg, size, message):
    backbone = MODELS.build(cfg)
    with pytest.raises(UserError, match=message):
        LocalBlockSplitter(num_blocks=1).split(backbone, (3, size, size))


class _TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 5, 3, padding=1)
        self.init_cfg = None

    def forward(self, x):
        return (self.second(self.first(x)),)


@pytest.fixture
def registered():
    """Register an adapter for the time of a test."""
    names = []

    def register(function, name='_TwoLayers'):
        UNIT_ADAPTERS.register_module(name=name, module=function)
        names.append(name)

    yield register
    for name in names:
        UNIT_ADAPTERS.module_dict.pop(name)


def test_a_user_registers_an_adapter(registered):
    registered(lambda net: [Unit(1, 0, {'first': net.first}), Unit(1, 1, {'second': net.second})])
    backbone = _TwoLayers()
    shaped = shaped_units(backbone, _units(backbone), (3, 8, 8))
    assert [unit.output_shape for unit in shaped] == [(4, 8, 8), (5, 8, 8)]


def test_the_adapter_that_the_readme_shows(registered):
    def mobilenet_v3_units(backbone):
        stem, *layers = backbone.layers
        units = [Unit(0, 0, {stem: backbone.get_submodule(stem)})]
        for index, name in enumerate(layers):
            units.append(Unit(1, index, {name: backbone.get_submodule(name)}))
        return units

    registered(mobilenet_v3_units, 'MobileNetV3')
    backbone = MODELS.build(dict(type='MobileNetV3', arch='small'))
    check_units(backbone, 32)
    splitter = LocalBlockSplitter(ends=['1.2', '1.8', '1.11'])
    blocks = splitter.split(backbone, (3, 32, 32))
    assert [len(block) for block in blocks] == [4, 6, 3]
    assert blocks[-1][-1].output_shape == (576, 1, 1)


def test_an_adapter_that_leaves_a_layer_out_is_refused(registered):
    registered(lambda net: [Unit(1, 0, {'first': net.first})])
    backbone = _TwoLayers()
    with pytest.raises(ValueError, match='adapter does not describe its forward'):
        shaped_units(backbone, _units(backbone), (3, 8, 8))


class _Bare(_TwoLayers):
    def forward(self, x):
        return super().forward(x)[0]


def test_a_backbone_that_returns_no_tuple_is_refused(registered):
    registered(lambda net: [Unit(1, 0, {'first': net.first})])
    backbone = _Bare()
    with pytest.raises(UserError, match='_Bare .*it returns no tuple of one feature map'):
        shaped_units(backbone, _units(backbone), (3, 8, 8))
