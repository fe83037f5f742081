from torch import nn

from mman.registry import UNIT_ADAPTERS

from ..unit import Unit, stage_units


@UNIT_ADAPTERS.register_module(name='ResNet')
def resnet_units(backbone: nn.Module) -> list[Unit]:
    """Units of mmpretrain's ResNet family: the stem, then every residual block.

    Serves ResNet, ResNeXt, ResNetV1c/d, SE-ResNet, RegNet, CIFARResNet, and every subclass
    that keeps ResNet's forward or ResNet_CIFAR's, which leaves the pooling out.
    """
    stem_names = ['stem'] if backbone.deep_stem else ['conv1', backbone.norm1_name, 'relu']
    if hasattr(backbone, 'maxpool'):
        stem_names.append('maxpool')
    return [Unit.of(backbone, 0, 0, *stem_names), *stage_units(backbone, backbone.res_layers)]
