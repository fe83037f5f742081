import torch
import torch.nn.functional as F
from torch import nn

from mman.registry import MODELS
from mman.utils import one_of

from .base import AuxHead
from .context import BlockContext, LocalBatch
from .loss_weight import LossWeight, loss_weights


@MODELS.register_module()
class DGLAuxHead(AuxHead):
    """Aux classifier of decoupled greedy learning (DGL, Belilovsky et al. 2020).

    Args:
        context (BlockContext): Where the head stands. Of tokens it sees the patches, as a map.
        variant (str): 'dgl', the network of the common baselines: average-pool
            to a quarter of the side (rounded up), three 1 x 1 convolutions as
            wide as the features, pool to 2 x 2, two hidden layers four times as
            wide. 'manpp', the network of the MAN++ release: pool to 8 x 8,
            three 1 x 1 convolutions of 128, global pool, three hidden layers of
            512. BatchNorm and ReLU follow every hidden layer. Hidden linear
            layers have biases in 'manpp' only, as in the releases; BatchNorm
            removes their effect. Defaults to 'dgl'.
        weight (float | list | dict): Weight of the loss, see
            :func:`.loss_weight.loss_weight`. Defaults to 1.0.
        init_cfg (dict | list | None): Defaults to He initialisation of
            convolutions; linear layers keep torch's own.
    """

    recompute_parts = dict(classifier=('head',))
    has_classifier = True
    _INIT = dict(type='Kaiming', layer='Conv2d')

    def __init__(
        self,
        context: BlockContext,
        variant: str = 'dgl',
        weight: LossWeight = 1.0,
        init_cfg: dict | list | None = _INIT,
    ):
        super().__init__(context, init_cfg)
        (self.weight,) = loss_weights(context, weight=weight)
        one_of('variant', variant, ('dgl', 'manpp'), self)
        channels, height, width = context.map_shape
        if variant == 'dgl':
            pool = (-(-height // 4), -(-width // 4))
            conv, grid, hidden = channels, 2, [4 * channels] * 2
        else:
            pool = (8, 8)
            conv, grid, hidden = 128, 1, [512] * 3
        self.pool = nn.AdaptiveAvgPool2d(pool)
        self.head = nn.Sequential(
            *_convolutions(channels, conv),
            nn.AdaptiveAvgPool2d(grid),
            nn.Flatten(),
            *_hidden_layers([conv * grid * grid, *hidden], bias=variant == 'manpp'),
            nn.Linear(hidden[-1], context.num_classes),
        )

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """See :meth:`AuxHead.logits`."""
        return self.head(self.pool(self.as_map(features)))

    def loss(self, features: torch.Tensor, batch: LocalBatch) -> dict[str, torch.Tensor]:
        """See :meth:`AuxHead.loss`."""
        return dict(loss_task=self.weight * F.cross_entropy(self.logits(features), batch.target))


def _convolutions(channels: int, width: int) -> list[nn.Module]:
    """Three 1 x 1 convolutions without bias, each with BatchNorm and ReLU."""
    layers: list[nn.Module] = []
    for inputs in (channels, width, width):
        layers += [nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return layers


def _hidden_layers(widths: list[int], bias: bool) -> list[nn.Module]:
    """Linear layers between the widths, each with BatchNorm and ReLU."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(inputs, outputs, bias=bias), nn.BatchNorm1d(outputs), nn.ReLU()]
    return layers
