from functools import partial

import torch
from mmpretrain.models.utils import resize_pos_embed
from torch import nn

from mman.registry import UNIT_ADAPTERS

from ..unit import Unit
from .model_part import model_part


def _stem(swin: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) to a map of patches (N, C, h, w)."""
    x, grid = swin.patch_embed(images)
    if swin.use_abs_pos_embed:
        resolution, mode = swin.patch_resolution, swin.interpolate_mode
        x = x + resize_pos_embed(swin.absolute_pos_embed, resolution, grid, mode, 0)
    return as_map(swin.drop_after_pos(x), grid)


class OnMap(nn.Module):
    """Layers on tokens and their grid, as a function of a map.

    Between units go maps, which are views, so that whoever reads them knows the grid.

    Args:
        layer (nn.Module): ``layer(tokens, grid)`` gives tokens.
        *downsample (nn.Module): At the end of a stage, what gives tokens and
            a new grid.
    """

    def __init__(self, layer: nn.Module, *downsample: nn.Module):
        super().__init__()
        self.layer = layer
        self.downsample = downsample[0] if downsample else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) to the map after it."""
        grid = tuple(x.shape[2:])
        tokens = self.layer(x.flatten(2).transpose(1, 2), grid)
        if self.downsample is not None:
            tokens, grid = self.downsample(tokens, grid)
        return as_map(tokens, grid)


def _normed(norm: str, swin: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The norm of that name of the channels of a map, which is in mmpretrain's layout then."""
    tokens = getattr(swin, norm)(x.flatten(2).transpose(1, 2))
    return as_map(tokens, x.shape[2:]).contiguous()


def as_map(tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(N, h * w, C) as (N, C, h, w), a view."""
    return tokens.transpose(1, 2).unflatten(2, tuple(grid))


@UNIT_ADAPTERS.register_module(name='SwinTransformer')
def swin_units(backbone: nn.Module) -> list[Unit]:
    """Units of mmpretrain's SwinTransformer: the stem, then every block.

    Units pass maps (C, H, W) on. The downsampling belongs to the last block of
    its stage, so that what passes a cut there is the smaller map. The norm of
    the last stage is not part of copies of the last block.
    """
    stem = ('patch_embed', 'absolute_pos_embed', 'drop_after_pos')
    paths, compose = model_part(backbone, stem, _stem)
    units = [Unit.of(backbone, 0, 0, *paths, compose=compose)]
    for i, stage in enumerate(backbone.stages):
        for index in range(len(stage.blocks)):
            paths = [f'stages.{i}.blocks.{index}']
            if index == len(stage.blocks) - 1 and stage.downsample is not None:
                paths.append(f'stages.{i}.downsample')
            units.append(Unit.of(backbone, i + 1, index, *paths, compose=OnMap))
    norm = f'norm{len(backbone.stages) - 1}'
    # Absent where out_indices leave the last stage out.
    if hasattr(backbone, norm):
        paths, compose = model_part(backbone, [norm], partial(_normed, norm))
        units[-1] = units[-1].with_output(backbone, *paths, compose=compose)
    return units
