"""What an aux head is told: at construction (BlockContext), per step (LocalBatch)."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from mmpretrain.structures import DataSample

from mman.utils import UserError

from ..splitters import Unit


@dataclass(frozen=True)
class BlockContext:
    """Where in the network an aux head stands.

    Args:
        index (int): Block that the head trains, from 0.
        num_blocks (int): K, the last block included. It has no aux head, so
            there are K - 1 heads.
        feature_shape (tuple[int, ...]): (C, H, W) of what the head is given, or
            (L, C) if it is tokens, (C,) if it is a vector.
        next_units (tuple[Unit, ...]): The units after the block, in order.
        input_shape (tuple[int, int, int]): (C, H, W) of an image.
        num_classes (int): Number of classes.
        unit_init_cfg (dict | list | None): ``init_cfg`` of the backbone, for
            heads that copy units and initialise them anew.
        end (int): Number of the last unit before ``next_units``, the stem being
            0. Defaults to 0.
        num_extra_tokens (int): How many of the L tokens are no patches of the
            image; they come first, the class token before others. Defaults to
            0.
        block_input_shape (tuple[int, ...]): Shape of what the block itself is
            given, of the first one an image. Defaults to ``()``, not known.
    """

    index: int
    num_blocks: int
    feature_shape: tuple[int, ...]
    next_units: tuple[Unit, ...]
    input_shape: tuple[int, int, int]
    num_classes: int
    unit_init_cfg: dict | list | None = None
    end: int = 0
    num_extra_tokens: int = 0
    block_input_shape: tuple[int, ...] = ()

    @property
    def num_heads(self) -> int:
        """Blocks that have an aux head: all but the last."""
        return self.num_blocks - 1

    @property
    def channels(self) -> int:
        """C of the features.

        Raises:
            UserError: If they are neither a map nor tokens nor a vector.
        """
        shape = self.feature_shape
        if len(shape) not in (1, 2, 3):
            raise UserError(
                f'block {self.index} gives features of shape {shape}, which are neither a map '
                '(C, H, W) nor tokens (L, C) nor a vector (C,)'
            )
        return shape[1] if len(shape) == 2 else shape[0]

    @property
    def is_vector(self) -> bool:
        """Whether the features are vectors, which have no places."""
        return len(self.feature_shape) == 1

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the features as a map; tokens of patches lie in a grid like the image.

        Raises:
            UserError: If they are neither a map nor tokens in such a grid.
        """
        channels = self.channels
        if self.is_vector:
            raise UserError(
                f'block {self.index} gives vectors {self.feature_shape}, and this aux head needs '
                'maps (C, H, W) or tokens (L, C)'
            )
        if len(self.feature_shape) == 3:
            return self.feature_shape
        patches = self.feature_shape[0] - self.num_extra_tokens
        _, height, width = self.input_shape
        rows = max(round(math.sqrt(patches * height / width)), 1)
        if patches % rows or rows * width != patches // rows * height:
            raise UserError(
                f'the {patches} patch tokens of block {self.index} do not lie in a grid like the '
                f'{height} x {width} image, so that they are no map'
            )
        return channels, rows, patches // rows

    def after_units(self, count: int) -> 'BlockContext':
        """The same for a head that is given what the next ``count`` units make of the features."""
        last = self.next_units[count - 1]
        return dataclasses.replace(
            self,
            feature_shape=last.output_shape,
            num_extra_tokens=last.num_extra_tokens,
            next_units=self.next_units[count:],
            end=self.end + count,
        )


@dataclass
class LocalBatch:
    """One training batch as aux heads see it; computed parts are shared.

    Args:
        inputs (Tensor | None): Normalised images, (N, C, H, W); None for the
            last block, which has no aux head to use them.
        data_samples (Sequence[DataSample]): Labels, N of them.
        mean (Tensor | float): ``inputs`` are ``(pixels - mean) / std`` with
            pixels from 0 to 255; (C, 1, 1). Defaults to 0.
        std (Tensor | float): Likewise. Defaults to 1.
        block_input (Tensor | None): What the head's block was given, detached;
            the images for the first one. Defaults to None.
        made (dict[str, Tensor]): What heads asked for so far, by name.
    """

    inputs: torch.Tensor | None
    data_samples: Sequence[DataSample]
    mean: torch.Tensor | float = 0.0
    std: torch.Tensor | float = 1.0
    block_input: torch.Tensor | None = None
    made: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)

    @property
    def target(self) -> torch.Tensor:
        """Labels: class indices (N,), or scores (N, num_classes) after mixup."""
        if 'target' not in self.made:
            self.made['target'] = self._target()
        return self.made['target']

    @property
    def image(self) -> torch.Tensor:
        """Images in [0, 1], (N, C, H, W); made once, when a head first asks."""
        if 'image' not in self.made:
            with torch.no_grad():
                self.made['image'] = self.inputs * (self.std / 255) + self.mean / 255
        return self.made['image']

    def for_block(self, block_input: torch.Tensor) -> 'LocalBatch':
        """The batch as one block's head sees it; what was made stays shared by all blocks.

        Args:
            block_input (Tensor): What the block was given, detached, (N, ...).
        """
        return dataclasses.replace(self, block_input=block_input)

    def without_images(self) -> 'LocalBatch':
        """The labels alone."""
        return LocalBatch(None, self.data_samples, self.mean, self.std)

    def _target(self) -> torch.Tensor:
        if 'gt_score' in self.data_samples[0]:
            return torch.stack([sample.gt_score for sample in self.data_samples])
        return torch.cat([sample.gt_label for sample in self.data_samples])
