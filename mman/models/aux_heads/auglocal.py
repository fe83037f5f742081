import copy
from collections.abc import Sequence
from numbers import Real

import torch
import torch.nn.functional as F
from mmengine.model import initialize
from torch import nn

from mman.registry import MODELS
from mman.utils import UserError, integer_from, should_be

from ..splitters.rebuild import copy_unit, rebuild_unit
from .base import AuxHead
from .context import BlockContext, LocalBatch
from .layouts import Pooled
from .loss_weight import LossWeight, loss_weights


@MODELS.register_module()
class AugLocalAuxHead(AuxHead):
    """Aux network made like the units to come (AugLocal, Ma et al., ICLR 2024).

    Copies of units after the block, picked uniformly and drawn anew, then a
    global pool, a linear layer and cross-entropy; where the network is one unit
    deep, a BatchNorm before the linear layer. See :func:`pyramid_depth` and
    :func:`picked_units` for how many units and which.

    As picks skip units, a copy takes the channels that the previous one gives;
    where the unit itself takes others, a rebuilder must know how to make it
    (:mod:`mman.models.splitters.rebuild`). It then strides by 2 while the map is
    larger than where its unit stands in the backbone, and by 1 otherwise, as in
    the release: after a jump over two stages the next copy strides too, or the
    map stays larger.

    The paper makes every unit a block and trains the last ``depth + 1`` jointly:
    ``splitter=dict(strategy='single', stem='own', num_blocks=L - depth)`` of L
    units. The head takes any split, and all units that remain if they are
    fewer than the depth. ``strategy='memory'`` compares splits by the depth of the
    block in the middle.

    As a host in :class:`MomentumAuxHead` it sees the block's output after the
    next unit, so picks are those of a block that ends one unit later (there may
    be none left, and it classifies the mixed features). The depth stays that of
    the block.

    Args:
        context (BlockContext): Where the head stands. Copies of units on tokens
            take all tokens; then comes the class token, or their mean.
        depth (int): Units of the first block's network, d. Defaults to 5.
        tau (float): How far the depth falls towards the last block, 0 (not at
            all) to 1 (to a single unit). Defaults to 0.5.
        weight (float | list | dict): Weight of the loss, see
            :func:`.loss_weight.loss_weight`. Defaults to 1.0.
        init_cfg (dict | list | None): Defaults to None, torch's own for what
            follows the copies, which are initialised like the backbone.

    Raises:
        UserError: If an argument is out of range, or a picked unit is of a kind
            that cannot be rebuilt.
    """

    recompute_parts = dict(classifier=('net',))
    has_classifier = True

    def __init__(
        self,
        context: BlockContext,
        depth: int = 5,
        tau: float = 0.5,
        weight: LossWeight = 1.0,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(context, init_cfg)
        (self.weight,) = loss_weights(context, weight=weight)
        integer_from(1, 'depth', depth, self)
        if not isinstance(tau, Real) or isinstance(tau, bool) or not 0 <= tau <= 1:
            raise should_be('tau', tau, 'a number from 0 to 1', self)
        if context.is_vector:
            raise UserError(
                f'block {context.index} gives vectors {context.feature_shape}, and AugLocalAuxHead '
                'copies units of maps (C, H, W) or tokens (L, C)'
            )
        depth = pyramid_depth(context.index, context.num_blocks, depth, tau)
        picks = picked_units(context.end, len(context.next_units), depth)
        copies = _copies(context, [pick - context.end for pick in picks])
        given = context.after_units(picks[-1] - context.end) if picks else context
        channels = given.channels
        is_map = len(given.feature_shape) == 3
        pool = (
            [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if is_map else [Pooled(given.num_extra_tokens)]
        )
        self.num_units = len(copies)
        self.net = nn.Sequential(
            *copies,
            *pool,
            *([nn.BatchNorm1d(channels)] if depth == 1 else []),
            nn.Linear(channels, context.num_classes),
        )

    def init_weights(self) -> None:
        """Initialise the copied units like the backbone, the rest by ``init_cfg``."""
        if self.is_init:
            return
        super().init_weights()
        if self.context.unit_init_cfg is not None:
            initialize(self.net[: self.num_units], copy.deepcopy(self.context.unit_init_cfg))

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """See :meth:`AuxHead.logits`."""
        return self.net(features)

    def loss(self, features: torch.Tensor, batch: LocalBatch) -> dict[str, torch.Tensor]:
        """See :meth:`AuxHead.loss`."""
        return dict(loss_task=self.weight * F.cross_entropy(self.logits(features), batch.target))


def pyramid_depth(index: int, num_blocks: int, depth: int, tau: float) -> int:
    """Units of the aux network of block ``index``, from 0, of ``num_blocks``.

    ``max(1, round(d * (1 - a) + a))`` with ``a = index * tau / (num_blocks - 2)``
    (AugLocal, section 3.3); with two blocks it is d.
    """
    ratio = index * tau / (num_blocks - 2) if num_blocks > 2 else 0.0
    return max(1, round(depth * (1 - ratio) + ratio))


def picked_units(end: int, remaining: int, depth: int) -> list[int]:
    """Numbers of the units to copy, the stem being 0 (AugLocal, section 3.2).

    Args:
        end (int): Number of the last unit before the network, l.
        remaining (int): How many units follow it, L - l - 1.
        depth (int): How many to pick, d.

    Returns:
        list[int]: ``round(l + (L - l - 1) / d * i)`` for i = 1 ... d; all that
        remain if they are not more than d.
    """
    if remaining <= depth:
        return list(range(end + 1, end + 1 + remaining))
    return [round(end + remaining / depth * i) for i in range(1, depth + 1)]


def _copies(context: BlockContext, picks: Sequence[int]) -> list[nn.Module]:
    """Copies of the picked next units, from 1, so that each takes what the one before gives."""
    inputs = [context.feature_shape, *(unit.output_shape for unit in context.next_units)]
    shape, copies = context.feature_shape, []
    for pick in picks:
        unit = context.next_units[pick - 1]
        if shape == inputs[pick - 1]:
            copies.append(copy_unit(unit))
            shape = unit.output_shape
            continue
        channels, height, width = shape
        stride = 2 if round(height / unit.output_shape[1]) > 1 else 1
        copies.append(rebuild_unit(unit, channels, stride))
        shape = (unit.output_shape[0], -(-height // stride), -(-width // stride))
    return copies
