"""Building the aux heads of a split, or of one that might be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mman.registry import MODELS
from mman.utils import UserError
from mman.utils.build import build_strict

from ..splitters import Unit
from .base import AuxHead
from .context import BlockContext


@dataclass(frozen=True)
class HeadBuilder:
    """The config of the aux heads, and what is the same for all of them.

    Args:
        cfg (dict | Sequence[dict] | None): ``model.aux_head``.
        input_shape (tuple[int, int, int]): (C, H, W) of an image.
        num_classes (int): Number of classes.
        unit_init_cfg (dict | list | None): ``init_cfg`` of the backbone.
    """

    cfg: dict | Sequence[dict] | None
    input_shape: tuple[int, int, int]
    num_classes: int
    unit_init_cfg: dict | list | None

    def build(self, block_units: Sequence[Sequence[Unit]]) -> list[AuxHead]:
        """The K - 1 heads of a split.

        Raises:
            UserError: If the config has none, too few or too many, or one
                cannot be built.
        """
        num_blocks = len(block_units)
        self._check_count(num_blocks)
        units = [unit for block in block_units for unit in block]
        heads, end = [], -1
        for index, block in enumerate(block_units[:-1]):
            end += len(block)
            heads.append(self._head(index, num_blocks, units, end))
        return heads

    def representative_head(self, num_blocks: int, units: Sequence[Unit], end: int) -> AuxHead:
        """The head of the block in the middle, if unit number ``end`` were its last.

        Raises:
            UserError: If there is not one config for all heads.
        """
        if not isinstance(self.cfg, Mapping):
            raise UserError(
                "splitter.strategy='memory' compares blocks by the head they would have: give one "
                f'model.aux_head for all blocks, not {self.cfg!r}'
            )
        return self._head((num_blocks - 1) // 2, num_blocks, units, end)

    def _head(self, index: int, num_blocks: int, units: Sequence[Unit], end: int) -> AuxHead:
        many = not isinstance(self.cfg, Mapping)
        context = BlockContext(
            index=index,
            num_blocks=num_blocks,
            feature_shape=units[end].output_shape,
            next_units=tuple(units[end + 1 :]),
            input_shape=self.input_shape,
            num_classes=self.num_classes,
            unit_init_cfg=self.unit_init_cfg,
            end=end,
            num_extra_tokens=units[end].num_extra_tokens,
        )
        where = f'model.aux_head[{index}]' if many else 'model.aux_head'
        cfg = self.cfg[index] if many else self.cfg
        return build_strict(MODELS, cfg, where, AuxHead, context=context)

    def _check_count(self, num_blocks: int) -> None:
        count = num_blocks - 1
        if count and self.cfg is None:
            raise UserError(
                f'model.aux_head is missing: {num_blocks} local blocks need an aux head each '
                'but the last; give its config, or num_blocks=1 for backpropagation'
            )
        many = isinstance(self.cfg, Sequence)
        if count and many and len(self.cfg) != count:
            raise UserError(
                f'model.aux_head lists {len(self.cfg)} heads, but {count} blocks have one '
                f'(num_blocks={num_blocks})'
            )
