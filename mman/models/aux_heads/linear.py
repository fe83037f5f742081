import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from torch import nn

from mman.registry import MODELS
from mman.utils import UserError, true_or_false

from .base import AuxHead
from .context import BlockContext, LocalBatch
from .loss_weight import LossWeight, loss_weights


@MODELS.register_module()
class LinearAuxHead(AuxHead):
    """Greedy supervised learning: pooled features, one linear layer, cross-entropy.

    The simplest local loss (Belilovsky et al. 2019; the baseline 'greedy SL'
    of InfoPro, ICLR 2021, section 4). Of tokens it takes the class token, or
    their mean where there is none; with ``norm=dict(type='LN')`` it is the head
    of MAN++ (TPAMI 2026) for vision transformers. On vectors and with ``bias=False``
    it is the projection of Mono-Forward (arXiv 2501.09238), which predicts by the last
    one alone: :class:`mman.models.heads.ProjectionClsHead`.

    Args:
        context (BlockContext): Where the head stands.
        norm (dict | None): Of the pooled features. Defaults to None.
        bias (bool): Of the linear layer. Defaults to True.
        weight (float | list | dict): See :func:`.loss_weight.loss_weight`. Defaults to 1.0.
        init_cfg (dict | list | None): Defaults to None, torch's own.
    """

    has_classifier = True

    def __init__(
        self,
        context: BlockContext,
        norm: dict | None = None,
        bias: bool = True,
        weight: LossWeight = 1.0,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(context, init_cfg)
        (self.weight,) = loss_weights(context, weight=weight)
        true_or_false('bias', bias, self)
        self.norm = nn.Identity() if norm is None else _norm(norm, context.channels)
        self.fc = nn.Linear(context.channels, context.num_classes, bias)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """See :meth:`AuxHead.logits`."""
        return self.fc(self.norm(self.pooled(features)))

    def loss(self, features: torch.Tensor, batch: LocalBatch) -> dict[str, torch.Tensor]:
        """See :meth:`AuxHead.loss`."""
        return dict(loss_task=self.weight * F.cross_entropy(self.logits(features), batch.target))


def _norm(cfg: dict, channels: int) -> nn.Module:
    """mmcv's norm layer of a config."""
    try:
        return build_norm_layer(dict(cfg), channels)[1]
    except Exception as error:
        raise UserError(
            f"norm={cfg!r} of LinearAuxHead should be None or a norm layer's config, such as "
            f"dict(type='LN'): {error}"
        ) from error
