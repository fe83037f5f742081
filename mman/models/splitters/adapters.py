"""How each family of backbones is listed as units.

An adapter is a function ``adapter(backbone) -> list[Unit]`` registered in
``UNIT_ADAPTERS`` under the class name of the backbone it serves; subclasses
inherit it. Applying the units one after the other must give the last feature
map that the backbone returns. Register your own from ``custom_imports``.
"""

from collections.abc import Callable

from torch import nn

from mman.registry import UNIT_ADAPTERS
from mman.utils import UserError

from .unit import Unit


def find_adapter(backbone: nn.Module) -> Callable[[nn.Module], list[Unit]]:
    """The adapter registered for the class of ``backbone`` or its nearest base.

    Raises:
        UserError: If there is none; names the class and the known ones.
    """
    for base in type(backbone).__mro__:
        if base.__name__ in UNIT_ADAPTERS:
            return UNIT_ADAPTERS.get(base.__name__)
    known = ', '.join(sorted(UNIT_ADAPTERS.module_dict))
    raise UserError(
        f'no unit adapter for backbone type {type(backbone).__name__!r}: there are adapters for '
        f'{known} and their subclasses; register one in mman.registry.UNIT_ADAPTERS'
    )


@UNIT_ADAPTERS.register_module(name='ResNet')
def resnet_units(backbone: nn.Module) -> list[Unit]:
    """Units of mmpretrain's ResNet family: the stem, then every residual block.

    Serves every subclass that keeps ResNet's forward or ResNet_CIFAR's, which
    leaves the pooling out: ResNet, ResNeXt, ResNetV1c/d, SE-ResNet, CIFARResNet.
    """
    stem_names = ['stem'] if backbone.deep_stem else ['conv1', backbone.norm1_name, 'relu']
    if hasattr(backbone, 'maxpool'):
        stem_names.append('maxpool')
    units = [Unit(0, 0, {name: getattr(backbone, name) for name in stem_names})]
    for stage, layer_name in enumerate(backbone.res_layers, start=1):
        for index, block in enumerate(getattr(backbone, layer_name)):
            units.append(Unit(stage, index, {f'{layer_name}.{index}': block}))
    return units
