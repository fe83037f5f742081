"""Units are views: one after the other they are the backbone, and own nothing."""

import copy

import pytest
import torch
from torch import nn

from mman.models.splitters import Unit
from mman.models.splitters.adapters import find_adapter
from mman.models.splitters.fake import shaped_units
from mman.registry import MODELS, UNIT_ADAPTERS
from tests.helpers.settings import BACKBONES


def _backbone(name):
    torch.manual_seed(0)
    return MODELS.build(copy.deepcopy(BACKBONES[name][0]))


def _units(backbone):
    return find_adapter(backbone)(backbone)


@pytest.mark.parametrize('name', BACKBONES)
def test_units_in_a_row_are_the_backbone(name):
    backbone = _backbone(name)
    backbone.train()
    other = copy.deepcopy(backbone)
    images = torch.randn(2, 3, 64, 64)
    expected = other(images)[-1]
    x = images
    for unit in _units(backbone):
        x = unit.module(x)
    assert torch.equal(x, expected)
    # Running statistics moved alike: the same modules ran, each once.
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


@pytest.mark.parametrize('name', BACKBONES)
def test_units_partition_the_parameters_and_keep_the_keys(name):
    backbone = _backbone(name)
    keys = list(backbone.state_dict())
    paths = {
        f'{path}.{key}' if key else path
        for unit in _units(backbone)
        for path, part in unit.parts.items()
        for key, _ in part.named_parameters()
    }
    names = [n for n, _ in backbone.named_parameters()]
    assert paths == set(names)
    assert sum(len(list(u.module.parameters())) for u in _units(backbone)) == len(names)
    assert list(backbone.state_dict()) == keys


@pytest.mark.parametrize('name', BACKBONES)
def test_shapes_are_those_of_a_real_pass_and_the_pass_leaves_no_trace(name):
    backbone = _backbone(name)
    before = copy.deepcopy(backbone.state_dict())
    shaped = shaped_units(backbone, _units(backbone), (3, 64, 64))
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, before[key]), key
    x = torch.randn(2, 3, 64, 64)
    for unit in shaped:
        x = unit.module(x)
        assert unit.output_shape == tuple(x.shape[1:])


def test_units_are_named_by_stage_and_index():
    names = [unit.name for unit in _units(_backbone('resnet18'))]
    assert names == ['stem', '1.0', '1.1', '2.0', '2.1', '3.0', '3.1', '4.0', '4.1']


def test_a_backbone_without_adapter_is_named():
    backbone = MODELS.build(dict(type='LeNet5'))
    with pytest.raises(ValueError, match="no unit adapter for backbone type 'LeNet5'"):
        find_adapter(backbone)


def test_more_than_the_last_map_is_refused():
    backbone = MODELS.build(dict(type='ResNet', depth=18, out_indices=(2, 3)))
    with pytest.raises(ValueError, match='set out_indices to the last stage'):
        shaped_units(backbone, _units(backbone), (3, 32, 32))


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
    def register(function):
        UNIT_ADAPTERS.register_module(name='_TwoLayers', module=function, force=True)

    yield register
    UNIT_ADAPTERS.module_dict.pop('_TwoLayers', None)


def test_a_user_registers_an_adapter(registered):
    registered(lambda net: [Unit(1, 0, {'first': net.first}), Unit(1, 1, {'second': net.second})])
    backbone = _TwoLayers()
    shaped = shaped_units(backbone, _units(backbone), (3, 8, 8))
    assert [unit.output_shape for unit in shaped] == [(4, 8, 8), (5, 8, 8)]


def test_an_adapter_that_leaves_a_layer_out_is_refused(registered):
    registered(lambda net: [Unit(1, 0, {'first': net.first})])
    backbone = _TwoLayers()
    with pytest.raises(ValueError, match='adapter does not describe its forward'):
        shaped_units(backbone, _units(backbone), (3, 8, 8))
