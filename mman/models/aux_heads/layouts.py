"""Networks without parameters that give features the layout a head takes."""

from functools import cached_property

import torch
from torch import nn

from .context import BlockContext


class TokensToMap(nn.Module):
    """The patches of tokens (N, L, C) in their grid, (N, *context.map_shape)."""

    def __init__(self, context: BlockContext):
        super().__init__()
        self.context = context

    @cached_property
    def grid(self) -> tuple[int, int]:
        """(H, W) of the map; looked up late, for not every head asks for one."""
        return self.context.map_shape[1:]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        patches = tokens[:, self.context.num_extra_tokens :]
        return patches.transpose(1, 2).unflatten(2, self.grid)


class Pooled(nn.Module):
    """(N, C): vectors as they are; the mean of a map; the class token, or the mean of tokens."""

    def __init__(self, num_extra_tokens: int):
        super().__init__()
        self.num_extra_tokens = num_extra_tokens

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if features.ndim == 2:
            return features
        if features.ndim == 4:
            return features.mean(dim=(2, 3))
        return features[:, 0] if self.num_extra_tokens else features.mean(dim=1)
