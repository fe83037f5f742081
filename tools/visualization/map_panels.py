"""The feature maps of one image, block by block."""

from collections.abc import Iterator

import torch
from torch import nn

from mman.apis.inspection import block_outputs
from mman.models import MomentumAuxHead

OUTPUT, MOMENTUM, BIAS, MIXED = 'block output x', 'momentum(x)', 'bias(x)', 'mixed'


@torch.no_grad()
def block_maps(model: nn.Module, inputs: torch.Tensor) -> Iterator[dict[str, torch.Tensor]]:
    """What comes out of every block, and what its momentum and bias units make of it.

    All are in eval mode, the momentum unit too: one image has no batch
    statistics worth the name, and the unit keeps running ones of its own.

    Args:
        model (nn.Module): A LocalImageClassifier in eval mode.
        inputs (Tensor): One normalised image, (1, C, H, W).

    Yields:
        dict[str, Tensor]: Maps (C, H, W) by name: :data:`OUTPUT`, and of a block
        with a MomentumAuxHead also :data:`MOMENTUM`, :data:`BIAS` and
        :data:`MIXED`, which is what the host head sees.
    """
    heads = [*model.aux_heads, None]
    for x, head in zip(block_outputs(model, inputs), heads, strict=True):
        found = {OUTPUT: x if head is None else head.as_map(x)}
        if isinstance(head, MomentumAuxHead):
            found |= _mixed_maps(head, x)
        yield {name: _as_map(value)[0].float().cpu() for name, value in found.items()}


def _mixed_maps(head: MomentumAuxHead, x: torch.Tensor) -> dict[str, torch.Tensor]:
    momentum_unit = head.momentum_unit.eval()
    maps = {MOMENTUM: momentum_unit(x), BIAS: head.bias_unit(x), MIXED: head.mixed(x)}
    # Units may make the map smaller; the host's context tells tokens their grid.
    return {name: head.host.as_map(value) for name, value in maps.items()}


def _as_map(x: torch.Tensor) -> torch.Tensor:
    """A vector that the last block gives, as a map of one pixel."""
    return x if x.ndim == 4 else x.reshape(len(x), -1, 1, 1)
