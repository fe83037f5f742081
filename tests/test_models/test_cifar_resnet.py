import pytest
import torch
from torch import nn

from mman.registry import MODELS


def _parameters(depth, **kwargs):
    backbone = MODELS.build(dict(type='CIFARResNet', depth=depth, **kwargs))
    widths = kwargs.get('widths', (16, 16, 32, 64))
    return backbone, sum(p.numel() for p in backbone.parameters()) + 10 * (widths[-1] + 1)


@pytest.mark.parametrize(
    ('depth', 'count'), [(20, 272_474), (32, 466_906), (56, 855_770), (110, 1_730_714)]
)
def test_parameters_with_a_ten_class_linear(depth, count):
    assert _parameters(depth)[1] == count


@pytest.mark.parametrize('depth', [20, 32, 44, 56, 110])
def test_layers_are_as_deep_as_the_name_says(depth):
    backbone, _ = _parameters(depth)
    # A projection shortcut does not count, the final linear layer does.
    main = [
        m
        for name, m in backbone.named_modules()
        if isinstance(m, nn.Conv2d) and 'downsample' not in name
    ]
    assert len(main) + 1 == depth


def test_stages_halve_the_map_and_take_their_widths():
    backbone, _ = _parameters(20, widths=(4, 8, 24, 12))
    backbone.out_indices = (0, 1, 2)
    shapes = [tuple(x.shape) for x in backbone(torch.zeros(1, 3, 32, 32))]
    assert shapes == [(1, 8, 32, 32), (1, 24, 16, 16), (1, 12, 8, 8)]


def test_initialisation_is_he_and_no_branch_starts_at_zero():
    backbone, _ = _parameters(110)
    backbone.init_weights()
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            expected = (2 / (module.kernel_size[0] ** 2 * module.out_channels)) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.1)
        if isinstance(module, nn.BatchNorm2d):
            assert torch.all(module.weight == 1) and torch.all(module.bias == 0)


@pytest.mark.parametrize('kwargs', [dict(depth=18), dict(depth=32, widths=(16, 16))])
def test_bad_arguments(kwargs):
    with pytest.raises(ValueError, match='CIFARResNet should be'):
        MODELS.build(dict(type='CIFARResNet', **kwargs))
