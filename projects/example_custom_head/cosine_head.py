import torch
import torch.nn.functional as F
from torch import nn

from mman.models.aux_heads import AuxHead, BlockContext, LocalBatch
from mman.registry import MODELS


@MODELS.register_module()
class CosineAuxHead(AuxHead):
    """Aux classifier by the angle between pooled features and class vectors.

    The logit of a class is the cosine similarity of the pooled features (the mean of a map; of
    tokens the class token) and the class's own learnable vector, times ``scale``; the loss is their
    cross-entropy. Such a classifier is known from face recognition (NormFace, Wang et al. 2017); as
    a local loss it is only an example of a head of one's own.

    Args:
        context (BlockContext): Where the head stands.
        scale (float): Factor on the similarities, which alone are too flat
            for a softmax: they are from -1 to 1. Defaults to 10.0.
        init_cfg (dict | list | None): Defaults to None: class vectors start in random directions.

    Raises:
        ValueError: If ``scale`` is not above 0.
    """

    # The block can be an early exit.
    has_classifier = True

    def __init__(
        self, context: BlockContext, scale: float = 10.0, init_cfg: dict | list | None = None
    ):
        super().__init__(context, init_cfg)
        if not scale > 0:
            raise ValueError(f'scale={scale} of CosineAuxHead should be above 0')
        self.scale = scale
        self.class_vectors = nn.Parameter(torch.randn(context.num_classes, context.channels))

    def loss(self, features: torch.Tensor, batch: LocalBatch) -> dict[str, torch.Tensor]:
        """Cross-entropy of the scaled similarities.

        Args:
            features (Tensor): Output of the block, (N, C, H, W) or (N, L, C).
            batch (LocalBatch): Labels of the step.

        Returns:
            dict[str, Tensor]: ``loss_cosine``, a scalar.
        """
        return dict(loss_cosine=F.cross_entropy(self.logits(features), batch.target))

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Scaled similarities (N, num_classes) of features as :meth:`loss` takes them."""
        pooled = F.normalize(self.pooled(features))
        return self.scale * F.linear(pooled, F.normalize(self.class_vectors))
