from functools import partial

import torch
from mmpretrain.models.utils import resize_pos_embed
from torch import nn

from mman.registry import UNIT_ADAPTERS

from ..unit import Unit


class PatchMap(nn.Module):
    """The stem of a Swin transformer: images to a map of patches.

    Args:
        patch_embed (nn.Module): mmpretrain's ``PatchEmbed``.
        *parts: The position embedding if there is one, then dropout.
        resolution (tuple[int, int]): (h, w) that the embedding is for.
        mode (str): How it is resized for others.
    """

    def __init__(
        self,
        patch_embed: nn.Module,
        *parts: nn.Module | nn.Parameter,
        resolution: tuple[int, int],
        mode: str,
    ):
        super().__init__()
        *places, drop = parts
        self.patch_embed = patch_embed
        self.pos_embed = places[0] if places else None
        self.drop = drop
        self.resolution = tuple(resolution)
        self.mode = mode

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) to (N, C, h, w)."""
        x, resolution = self.patch_embed(images)
        if self.pos_embed is not None:
            x = x + resize_pos_embed(self.pos_embed, self.resolution, resolution, self.mode, 0)
        return as_map(self.drop(x), resolution)


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


class NormedMap(nn.Module):
    """A norm of the channels of a map, and the map in mmpretrain's layout."""

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.norm = norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, h, w) to (N, C, h, w)."""
        return as_map(self.norm(x.flatten(2).transpose(1, 2)), x.shape[2:]).contiguous()


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
    places = ['absolute_pos_embed'] if backbone.use_abs_pos_embed else []
    stem = ['patch_embed', *places, 'drop_after_pos']
    embed = partial(PatchMap, resolution=backbone.patch_resolution, mode=backbone.interpolate_mode)
    units = [Unit.of(backbone, 0, 0, *stem, compose=embed)]
    for i, stage in enumerate(backbone.stages):
        for index in range(len(stage.blocks)):
            paths = [f'stages.{i}.blocks.{index}']
            if index == len(stage.blocks) - 1 and stage.downsample is not None:
                paths.append(f'stages.{i}.downsample')
            units.append(Unit.of(backbone, i + 1, index, *paths, compose=OnMap))
    norm = f'norm{len(backbone.stages) - 1}'
    # Absent where out_indices leave the last stage out.
    if hasattr(backbone, norm):
        units[-1] = units[-1].with_output(backbone, norm, compose=NormedMap)
    return units
