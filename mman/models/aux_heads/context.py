"""What an aux head is told: at construction (BlockContext), per step (LocalBatch)."""

import copy
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

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


class LocalBatch:
    """One training batch as aux heads see it.

    Args:
        inputs (Tensor | None): Normalised images, (N, C, H, W); None where no
            head needs them.
        data_samples (Sequence[DataSample]): Labels, N of them.
        mean (Tensor | float): ``inputs`` are ``(pixels - mean) / std`` with
            pixels from 0 to 255; (C, 1, 1). Defaults to 0.
        std (Tensor | float): Likewise. Defaults to 1.
        with_image (bool): Whether a head has ``needs_image``. Defaults to True.
        target (Tensor | None): As below. Defaults to None, that of the samples.

    Attributes:
        target (Tensor): Class indices (N,), or scores (N, num_classes) after mixup.
        image (Tensor): Images in [0, 1], (N, C, H, W), if a head needs them.
        block_input (Tensor): What the head's block was given, detached; the
            images for the first one. After :meth:`for_block`.
    """

    def __init__(
        self,
        inputs: torch.Tensor | None,
        data_samples: Sequence[DataSample],
        mean: torch.Tensor | float = 0.0,
        std: torch.Tensor | float = 1.0,
        with_image: bool = True,
        target: torch.Tensor | None = None,
    ):
        self.inputs, self.data_samples = inputs, data_samples
        if target is not None:
            self.target = target
        elif 'gt_score' in data_samples[0]:
            self.target = torch.stack([sample.gt_score for sample in data_samples])
        else:
            self.target = torch.cat([sample.gt_label for sample in data_samples])
        if with_image and inputs is not None:
            with torch.no_grad():
                self.image = inputs * (std / 255) + mean / 255

    def __getattr__(self, name: str):
        """Say how to come by an image that is not there."""
        hint = ', as the aux head does not set needs_image = True' if name == 'image' else ''
        raise AttributeError(f'the LocalBatch has no {name}{hint}')

    def for_block(self, block_input: torch.Tensor) -> 'LocalBatch':
        """The batch as the head of one block sees it, given ``block_input`` (N, ...), detached."""
        batch = copy.copy(self)
        batch.block_input = block_input
        return batch

    def without_images(self) -> 'LocalBatch':
        """The labels alone."""
        labels = copy.copy(self)
        labels.inputs = None
        vars(labels).pop('image', None)
        return labels
