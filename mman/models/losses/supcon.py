import torch
import torch.nn.functional as F
from torch import nn

from mman.registry import MODELS
from mman.utils import UserError


@MODELS.register_module()
class SupConLoss(nn.Module):
    """Supervised contrastive loss with one view per image (Khosla et al. 2020).

    For every anchor, the mean over the other samples of its class of
    -log softmax of the cosine similarities to all other samples; anchors
    alone in their class count as zero (equation 2, as in InfoPro).

    Args:
        temperature (float): Divides the similarities. Defaults to 0.07.
    """

    def __init__(self, temperature: float = 0.07):
        super().__init__()
        if not temperature > 0:
            raise UserError(f'temperature={temperature} of SupConLoss should be above 0')
        self.temperature = temperature

    def forward(self, features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss, a scalar, of features (N, D), normalised here, and class indices (N,)."""
        if target.ndim != 1:
            raise UserError(
                'SupConLoss needs class indices, but the labels are scores: batch augmentations '
                'such as Mixup do not go with it'
            )
        # Never in half precision: the similarities are divided by the temperature.
        with torch.autocast(features.device.type, enabled=False):
            return self._loss(
                features.to(torch.promote_types(features.dtype, torch.float32)), target
            )

    def _loss(self, features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        features = F.normalize(features, dim=1)
        similarity = features @ features.T / self.temperature
        # The largest is the similarity to itself: exp cannot overflow.
        similarity = similarity - similarity.amax(dim=1, keepdim=True).detach()
        others = 1 - torch.eye(len(target), device=target.device)
        log_prob = similarity - (similarity.exp() * others).sum(dim=1, keepdim=True).log()
        positive = (target[:, None] == target[None, :]) * others
        count = positive.sum(dim=1).clamp(min=1)
        return -((positive * log_prob).sum(dim=1) / count).mean()
