"""Units of the DenseNets of mmpretrain, timm and torchvision."""

import torch
from torch import nn

from mman.registry import UNIT_ADAPTERS
from mman.utils import UserError

from ..unit import Unit
from .timm import timm_units
from .torchvision import torchvision_units


class GrowingMap(nn.Module):
    """A dense layer, which takes a list, as a function of one map that grows by the new channels.

    Handed on as one map, the outputs of all layers pass a cut together, and detached
    together: no skip goes around it. ``after`` is what the grown map passes; the transition.
    """

    def __init__(self, layer: nn.Module, *after: nn.Module):
        super().__init__()
        self.layer = layer
        self.after = nn.Sequential(*after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to the next layer's input."""
        return self.after(torch.cat([x, self.layer([x])], 1))


@UNIT_ADAPTERS.register_module(name='DenseNet')
def densenet_units(backbone: nn.Module) -> list[Unit]:
    """Units of mmpretrain's DenseNet: the stem, then every dense layer.

    The transition belongs to the last layer of a dense block, so that what
    passes a cut there is the smaller map.
    """
    units = [Unit.of(backbone, 0, 0, 'stem')]
    for i, block in enumerate(backbone.stages):
        for index, layer in enumerate(block.block):
            _refuse_own_recomputation(layer)
            paths = [f'stages.{i}.block.{index}']
            if index == len(block.block) - 1:
                paths.append(f'transitions.{i}')
            units.append(Unit.of(backbone, i + 1, index, *paths, compose=GrowingMap))
    return units


@UNIT_ADAPTERS.register_module(name='timm.DenseNet')
def timm_densenet_units(backbone: nn.Module) -> list[Unit]:
    """Units of timm's DenseNet: its layers in a row, dense blocks by their layers."""
    return _by_layers(timm_units(backbone))


@UNIT_ADAPTERS.register_module(name='torchvision.DenseNet')
def torchvision_densenet_units(backbone: nn.Module) -> list[Unit]:
    """Units of torchvision's DenseNet, whose layers have the names of timm's."""
    return _by_layers(torchvision_units(backbone))


def _by_layers(units: list[Unit]) -> list[Unit]:
    """The units with every dense block replaced by its dense layers."""
    found: list[Unit] = []
    for unit in units:
        (path, block), *after = unit.parts.items()
        named = block.named_children()
        layers = [(f'{path}.{n}', layer) for n, layer in named if n.startswith('denselayer')]
        for index, part in enumerate(layers):
            _refuse_own_recomputation(part[1])
            parts = dict([part, *after] if index == len(layers) - 1 else [part])
            found.append(Unit(unit.stage, index, parts, compose=GrowingMap))
        if not layers:
            found.append(unit)
    return found


def _refuse_own_recomputation(layer: nn.Module) -> None:
    if getattr(layer, 'memory_efficient', False) or getattr(layer, 'grad_checkpointing', False):
        raise UserError(
            'model.backbone.memory_efficient=True would update running statistics twice a '
            "step: leave it out and set model.recompute='block'"
        )
