"""Copying a unit in shape, to stand somewhere else than in its backbone.

A rebuilder is a function ``rebuilder(module, in_channels, stride)`` registered
in ``UNIT_REBUILDERS`` under the class name of the unit's module; subclasses
inherit it. It returns a new module that takes ``in_channels`` and strides by
``stride``, and gives as many channels as ``module`` does. Register your own
from ``custom_imports``.
"""

import copy

from mmcv.cnn import build_conv_layer, build_norm_layer
from torch import nn

from mman.registry import UNIT_REBUILDERS
from mman.utils import UserError

from .unit import Unit


def rebuild_unit(unit: Unit, in_channels: int, stride: int) -> nn.Module:
    """A trainable copy of a unit for another input, its weights drawn anew as torch does.

    Returns:
        nn.Module: From (N, in_channels, H, W) to (N, channels of the unit's
        output, H / stride, W / stride), rounded up.

    Raises:
        UserError: If no rebuilder is registered for its class, or the one that
            is does not fit it; names the unit and the class.
    """
    module = unit.module
    for base in type(module).__mro__:
        if base.__name__ in UNIT_REBUILDERS:
            rebuilt = UNIT_REBUILDERS.get(base.__name__)(module, in_channels, stride)
            break
    else:
        known = ', '.join(sorted(UNIT_REBUILDERS.module_dict))
        raise UserError(
            f'unit {unit.name} is a {type(module).__name__}, which cannot be rebuilt for '
            f'another input: there are rebuilders for {known} and their subclasses; register one '
            'in mman.registry.UNIT_REBUILDERS'
        )
    return _reset_parameters(rebuilt)


def copy_unit(unit: Unit) -> nn.Module:
    """A trainable copy of a unit for the same input, its weights drawn anew as torch does."""
    return _reset_parameters(copy.deepcopy(unit.module))


def _reset_parameters(module: nn.Module) -> nn.Module:
    for layer in module.modules():
        if hasattr(layer, 'reset_parameters'):
            layer.reset_parameters()
    return module.requires_grad_(True)


@UNIT_REBUILDERS.register_module(name='BasicBlock')
@UNIT_REBUILDERS.register_module(name='Bottleneck')
def residual_block(block: nn.Module, in_channels: int, stride: int) -> nn.Module:
    """A residual block of mmpretrain's ResNet family.

    Serves the blocks of ResNet, ResNeXt, SE-ResNet and CIFARResNet. Where the
    shape changes in another way than in ``block``, the shortcut is a 1 x 1
    convolution with a norm layer, in ResNetV1d too.
    """
    rebuilt = copy.deepcopy(block)
    if (in_channels, stride) == (block.in_channels, block.stride):
        return rebuilt
    on_first = not hasattr(block, 'conv3') or block.style == 'caffe'
    conv1, conv2 = block.conv1, getattr(block, 'conv2', None)
    if not isinstance(conv1, nn.Conv2d) or not isinstance(conv2, nn.Conv2d):
        raise UserError(
            f'{type(block).__module__}.{type(block).__name__} cannot be rebuilt for another '
            'input: its conv1 and conv2 are not both plain convolutions; register a rebuilder for '
            'it in mman.registry.UNIT_REBUILDERS'
        )
    rebuilt.in_channels, rebuilt.stride = in_channels, stride
    rebuilt.conv1 = build_conv_layer(
        block.conv_cfg,
        in_channels,
        conv1.out_channels,
        conv1.kernel_size,
        stride=stride if on_first else 1,
        padding=conv1.padding,
        dilation=conv1.dilation,
        bias=False,
    )
    if not on_first:
        rebuilt.conv2.stride = (stride, stride)
    rebuilt.downsample = _shortcut(block, in_channels, stride)
    return rebuilt


def _shortcut(block: nn.Module, in_channels: int, stride: int) -> nn.Module | None:
    """The shortcut of a residual block where the shape changes; None elsewhere."""
    if stride == 1 and in_channels == block.out_channels:
        return None
    return nn.Sequential(
        build_conv_layer(
            block.conv_cfg, in_channels, block.out_channels, 1, stride=stride, bias=False
        ),
        build_norm_layer(block.norm_cfg, block.out_channels)[1],
    )
