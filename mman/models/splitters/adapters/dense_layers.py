"""Units of timm's and torchvision's DenseNet, which name their layers alike."""

from torch import nn

from mman.registry import UNIT_ADAPTERS
from mman.utils import UserError

from ..unit import Unit
from .densenet import GrowingMap
from .timm import timm_units
from .torchvision import torchvision_units


@UNIT_ADAPTERS.register_module(name='timm.DenseNet')
def timm_densenet_units(backbone: nn.Module) -> list[Unit]:
    """Units of timm's DenseNet: its layers in a row, dense blocks by their layers."""
    return _by_layers(timm_units(backbone))


@UNIT_ADAPTERS.register_module(name='torchvision.DenseNet')
def torchvision_densenet_units(backbone: nn.Module) -> list[Unit]:
    """Units of torchvision's DenseNet: its layers in a row, dense blocks by their layers."""
    return _by_layers(torchvision_units(backbone))


def _by_layers(units: list[Unit]) -> list[Unit]:
    """The units with every dense block replaced by its dense layers.

    Raises:
        UserError: If the network recomputes by itself.
    """
    found: list[Unit] = []
    for unit in units:
        (path, block), *after = unit.parts.items()
        layers = [(f'{path}.{name}', layer) for name, layer in _dense_layers(block)]
        for index, part in enumerate(layers):
            parts = dict([part, *after] if index == len(layers) - 1 else [part])
            found.append(Unit(unit.stage, index, parts, compose=GrowingMap))
        if not layers:
            found.append(unit)
    return found


def _dense_layers(block: nn.Module) -> list[tuple[str, nn.Module]]:
    layers = [(n, layer) for n, layer in block.named_children() if n.startswith('denselayer')]
    for _, layer in layers:
        if getattr(layer, 'memory_efficient', False) or getattr(layer, 'grad_checkpointing', False):
            raise UserError(
                'model.backbone.memory_efficient=True would update running statistics twice a '
                "step: leave it out and set model.recompute='block'"
            )
    return layers
