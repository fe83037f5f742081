from torch import nn

from mman.registry import UNIT_ADAPTERS
from mman.utils import UserError

from ..unit import Unit


@UNIT_ADAPTERS.register_module(name='VGG')
def vgg_units(backbone: nn.Module) -> list[Unit]:
    """Units of mmpretrain's VGG: every convolution with its norm, activation and pool.

    What passes a cut is small so. The first convolution is the stem; the others of
    its stage are '1.0' on.
    """
    if backbone.num_classes > 0:
        raise UserError(
            f'model.backbone.num_classes={backbone.num_classes} gives VGG a classifier of its own: '
            'leave it out, model.head classifies'
        )
    name = backbone.module_name
    layers = getattr(backbone, name)
    units: list[Unit] = []
    for stage, (start, end) in enumerate(backbone.range_sub_modules, start=1):
        index = 0
        for position in range(start, end):
            part = {f'{name}.{position}': layers[position]}
            if isinstance(layers[position], nn.MaxPool2d):
                units[-1].parts.update(part)
            elif not units:
                units.append(Unit(0, 0, part))
            else:
                units.append(Unit(stage, index, part))
                index += 1
    return units
