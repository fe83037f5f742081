import torch
from torch import nn

from mman.registry import UNIT_ADAPTERS
from mman.utils import UserError

from ..unit import Unit


class GrowingMap(nn.Module):
    """A dense layer as a function of one map: its input with the new channels appended.

    A dense layer reads the outputs of all layers before it. Handed on as one
    map that grows, they pass a cut together, and detached together: no skip
    goes around it.

    Args:
        layer (nn.Module): A dense layer of mmpretrain, which takes a list.
        *after (nn.Module): What the grown map passes; the transition.
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

    Raises:
        UserError: If the backbone recomputes by itself.
    """
    units = [Unit(0, 0, {'stem': backbone.stem})]
    for i, (block, transition) in enumerate(
        zip(backbone.stages, backbone.transitions, strict=True)
    ):
        for index, layer in enumerate(block.block):
            if layer.memory_efficient:
                raise UserError(
                    'model.backbone.memory_efficient=True would update running statistics twice a '
                    "step: leave it out and set model.recompute='block'"
                )
            parts = {f'stages.{i}.block.{index}': layer}
            if index == len(block.block) - 1:
                parts[f'transitions.{i}'] = transition
            units.append(Unit(i + 1, index, parts, compose=GrowingMap))
    return units
