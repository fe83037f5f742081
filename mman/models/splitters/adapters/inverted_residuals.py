"""Units of networks of inverted residuals: the stem, every block, the last convolution."""

from torch import nn

from mman.registry import UNIT_ADAPTERS

from ..unit import Unit, stage_units


@UNIT_ADAPTERS.register_module(name='MobileNetV2')
def mobilenet_v2_units(backbone: nn.Module) -> list[Unit]:
    """Units of mmpretrain's MobileNetV2."""
    return _units(backbone, ['conv1', *backbone.layers])


@UNIT_ADAPTERS.register_module(name='EfficientNet')
@UNIT_ADAPTERS.register_module(name='EfficientNetV2')
def efficientnet_units(backbone: nn.Module) -> list[Unit]:
    """Units of mmpretrain's EfficientNet and EfficientNetV2."""
    return _units(backbone, [f'layers.{stage}' for stage in range(len(backbone.layers))])


def _units(backbone: nn.Module, paths: list[str]) -> list[Unit]:
    stem, *stages, last = paths
    return [
        Unit.of(backbone, 0, 0, stem),
        *stage_units(backbone, stages),
        Unit.of(backbone, len(stages) + 1, 0, last),
    ]
