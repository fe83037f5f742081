import torch
import torch.nn.functional as F
from torch import nn

from mman.registry import MODELS

from .base import AuxHead
from .context import BlockContext, LocalBatch
from .loss_weight import LossWeight, loss_weight, require_loss


@MODELS.register_module()
class LinearAuxHead(AuxHead):
    """Greedy supervised learning: pooled features, one linear layer, cross-entropy.

    The simplest local loss (Belilovsky et al. 2019; the baseline 'greedy SL'
    of InfoPro, ICLR 2021, section 4).

    Args:
        context (BlockContext): Where the head stands; its features are maps.
        weight (float | list | dict): Weight of the loss, see
            :func:`.loss_weight.loss_weight`. Defaults to 1.0.
        init_cfg (dict | list | None): Defaults to None, torch's own.
    """

    def __init__(
        self, context: BlockContext, weight: LossWeight = 1.0, init_cfg: dict | list | None = None
    ):
        super().__init__(context, init_cfg)
        self.weight = loss_weight(weight, context, 'weight')
        require_loss(context, weight=self.weight)
        self.fc = nn.Linear(self.require_map()[0], context.num_classes)

    def loss(self, features: torch.Tensor, batch: LocalBatch) -> dict[str, torch.Tensor]:
        """See :meth:`AuxHead.loss`."""
        logits = self.fc(features.mean(dim=(2, 3)))
        return dict(loss_task=self.weight * F.cross_entropy(logits, batch.target))
