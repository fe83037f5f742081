from torch import nn

from mman.registry import UNIT_ADAPTERS

from ..unit import Unit


@UNIT_ADAPTERS.register_module(name='MobileNetV2')
def mobilenet_v2_units(backbone: nn.Module) -> list[Unit]:
    """Units of mmpretrain's MobileNetV2.

    The stem, every inverted residual, the last convolution.
    """
    units = [Unit(0, 0, {'conv1': backbone.conv1})]
    *stages, last = backbone.layers
    for stage, name in enumerate(stages, start=1):
        for index, block in enumerate(getattr(backbone, name)):
            units.append(Unit(stage, index, {f'{name}.{index}': block}))
    return [*units, Unit(len(stages) + 1, 0, {last: getattr(backbone, last)})]
