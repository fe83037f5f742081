from torch import nn

from mman.registry import UNIT_ADAPTERS

from ..unit import Unit


@UNIT_ADAPTERS.register_module(name='ResNet')
def resnet_units(backbone: nn.Module) -> list[Unit]:
    """Units of mmpretrain's ResNet family: the stem, then every residual block.

    Serves every subclass that keeps ResNet's forward or ResNet_CIFAR's, which
    leaves the pooling out: ResNet, ResNeXt, ResNetV1c/d, SE-ResNet, RegNet,
    CIFARResNet.
    """
    stem_names = ['stem'] if backbone.deep_stem else ['conv1', backbone.norm1_name, 'relu']
    if hasattr(backbone, 'maxpool'):
        stem_names.append('maxpool')
    units = [Unit(0, 0, {name: getattr(backbone, name) for name in stem_names})]
    for stage, layer_name in enumerate(backbone.res_layers, start=1):
        for index, block in enumerate(getattr(backbone, layer_name)):
            units.append(Unit(stage, index, {f'{layer_name}.{index}': block}))
    return units
