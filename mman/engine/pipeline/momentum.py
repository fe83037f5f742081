"""The average that a head keeps of weights in another process."""

from collections.abc import Callable, Sequence

import torch

from mman.models.aux_heads import MomentumAuxHead
from mman.models.classifiers import LocalImageClassifier

from ..hooks.momentum_update_hook import update_average


def averaging_head(classifier: LocalImageClassifier, block: int) -> MomentumAuxHead | None:
    """The head of a block, if it averages the weights of the next one."""
    head = classifier.aux_heads[block]
    return head if isinstance(head, MomentumAuxHead) else None


def average_into(head: MomentumAuxHead) -> Callable[[Sequence[torch.Tensor], float], None]:
    """``average(weights, decay)`` updates a head's momentum unit as MomentumUpdateHook does."""

    def average(weights: Sequence[torch.Tensor], decay: float) -> None:
        update_average(list(head.momentum_unit.parameters()), weights, decay)
        head.num_updates += 1

    return average
