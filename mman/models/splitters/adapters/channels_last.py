"""Units of networks whose maps have their channels last."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import nn

from ..unit import Unit, in_a_row


class ToMap(nn.Module):
    """Layers, applied in turn, that give (N, H, W, C), with (N, C, H, W) given instead."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = in_a_row(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Whatever the layers take to (N, C, H, W), a view."""
        return self.layers(x).permute(0, 3, 1, 2)


class FromMap(nn.Module):
    """Layers that take (N, H, W, C), with (N, C, H, W) taken instead; there may be none."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to what the layers give."""
        return self.layers(x.permute(0, 2, 3, 1))


def on_maps(*layers: nn.Module) -> nn.Module:
    """Layers on (N, H, W, C) as a function of (N, C, H, W)."""
    return ToMap(FromMap(*layers))


def with_maps(units: Sequence[Unit]) -> list[Unit]:
    """Units on (N, H, W, C) as units that hand on maps (C, H, W), which are views.

    The first of at least two takes images. What follows the first part of the last
    unit, the final norm for instance, becomes its ``output``: it is not in copies.
    """
    stem, *inner, last = units
    (path, layer), *after = last.parts.items()
    output = Unit(last.stage, last.index, dict(after), compose=FromMap)
    last = dataclasses.replace(last, parts={path: layer}, compose=on_maps, output=output)
    return [
        dataclasses.replace(stem, compose=ToMap),
        *(dataclasses.replace(unit, compose=on_maps) for unit in inner),
        last,
    ]
