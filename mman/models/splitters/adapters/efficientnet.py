from torch import nn

from mman.registry import UNIT_ADAPTERS

from ..unit import Unit


@UNIT_ADAPTERS.register_module(name='EfficientNet')
@UNIT_ADAPTERS.register_module(name='EfficientNetV2')
def efficientnet_units(backbone: nn.Module) -> list[Unit]:
    """Units of mmpretrain's EfficientNet and EfficientNetV2.

    The stem, every inverted residual, the last convolution.
    """
    last = len(backbone.layers) - 1
    units = [Unit(0, 0, {'layers.0': backbone.layers[0]})]
    for stage in range(1, last):
        for index, block in enumerate(backbone.layers[stage]):
            units.append(Unit(stage, index, {f'layers.{stage}.{index}': block}))
    return [*units, Unit(last, 0, {f'layers.{last}': backbone.layers[last]})]
