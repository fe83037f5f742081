import torch
import torch.nn.functional as F
from torch import nn

from mman.registry import MODELS
from mman.utils import integer_from, true_or_false

from .base import AuxHead
from .context import BlockContext, LocalBatch
from .loss_weight import LossWeight, loss_weights


@MODELS.register_module()
class PredSimAuxHead(AuxHead):
    """Similarity matching and prediction (Nøkland & Eidnes, ICML 2019, section 3).

    Loss: ``similarity_weight * MSE(S(f), S(labels)) + prediction_weight * CE``.
    S is the N x N matrix of cosine similarities between samples, each first
    centred to mean zero over its values. f are the standard deviations over
    space of every channel of a 3 x 3 convolution C -> C; labels are one-hot, or
    scores after mixup. The prediction is one linear layer on pooled features. A
    loss whose weight is 0 in a block is not computed there, and its network not
    built.

    Of vectors, as an MLP has them, f is what a linear layer C -> C without bias gives,
    and the weights of the prediction start at zero, both as in the paper's code.

    Args:
        context (BlockContext): Where the head stands. Of tokens it sees the patches, as a map.
        similarity_weight (float | list | dict): See
            :func:`.loss_weight.loss_weight`. Defaults to 0.99.
        prediction_weight (float | list | dict): Likewise. Defaults to 0.01.
        similarity_std (bool): Whether f are standard deviations; otherwise, and
            on maps of up to 3 channels or a single pixel, f are all values of
            the map. Defaults to True.
        pooled_features (int): The map is pooled, height and width halved in
            turn, until it has no more values than that or one per channel.
            Windows and their places are those of the released code: sides are
            powers of two; where one does not divide the map's side, the first
            window begins half a window outside, the zeros there count in the
            mean, and what lies beyond the last window is not seen. Defaults to
            4096, as in the paper's code.
        init_cfg (dict | list | None): Defaults to He initialisation of
            convolutions; linear layers keep torch's own.

    Raises:
        UserError: If an argument is out of range, or both weights are 0.
    """

    recompute_parts = dict(classifier=('similarity', 'prediction'))
    _INIT = dict(type='Kaiming', layer='Conv2d')

    def __init__(
        self,
        context: BlockContext,
        similarity_weight: LossWeight = 0.99,
        prediction_weight: LossWeight = 0.01,
        similarity_std: bool = True,
        pooled_features: int = 4096,
        init_cfg: dict | list | None = _INIT,
    ):
        super().__init__(context, init_cfg)
        true_or_false('similarity_std', similarity_std, self)
        integer_from(1, 'pooled_features', pooled_features, self)
        self.similarity_weight, self.prediction_weight = loss_weights(
            context, similarity_weight=similarity_weight, prediction_weight=prediction_weight
        )
        self.has_classifier = bool(self.prediction_weight)
        shape = context.feature_shape if context.is_vector else context.map_shape
        if self.similarity_weight:
            self.similarity = _similarity_net(shape, similarity_std)
        if self.prediction_weight:
            self.prediction = _prediction_net(shape, pooled_features, context.num_classes)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """The prediction; see :meth:`AuxHead.logits`."""
        if not self.has_classifier:
            return super().logits(features)
        return self.prediction(self.as_map(features))

    def loss(self, features: torch.Tensor, batch: LocalBatch) -> dict[str, torch.Tensor]:
        """See :meth:`AuxHead.loss`."""
        features, losses = self.as_map(features), {}
        if self.similarity_weight:
            found = self.similarity(features)
            labels = _label_vectors(batch.target, self.context.num_classes, found.dtype)
            # A product in half precision would round what is compared.
            with torch.autocast(found.device.type, enabled=False):
                mse = F.mse_loss(similarities(found), similarities(labels))
            losses['loss_similarity'] = self.similarity_weight * mse
        if self.prediction_weight:
            logits = self.prediction(features)
            losses['loss_task'] = self.prediction_weight * F.cross_entropy(logits, batch.target)
        return losses


def similarities(vectors: torch.Tensor) -> torch.Tensor:
    """Cosine similarities (N, N) of vectors (N, D), each centred to mean zero.

    A vector whose values are all equal has similarity 0 with every other.
    """
    centred = vectors - vectors.mean(dim=1, keepdim=True)
    directions = F.normalize(centred, dim=1, eps=1e-8)
    return directions @ directions.T


class _Flat(nn.Module):
    """All values of a map or vector, (N, C, ...) to (N, D), float32 at least."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(torch.promote_types(x.dtype, torch.float32)).flatten(1)


class _SpatialStd(nn.Module):
    """Standard deviation of every channel, (N, C, H, W) to (N, C), float32 at least."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(torch.promote_types(x.dtype, torch.float32)).flatten(2).std(dim=2)


def _similarity_net(shape: tuple[int, ...], std: bool) -> nn.Module:
    """What gives f; see :class:`PredSimAuxHead`."""
    if len(shape) == 1:
        return nn.Sequential(nn.Linear(*shape, *shape, bias=False), _Flat())
    channels, height, width = shape
    summary = _SpatialStd() if std and channels > 3 and height * width > 1 else _Flat()
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), summary)


def _prediction_net(shape: tuple[int, ...], limit: int, num_classes: int) -> nn.Module:
    """The pooling and the linear layer; see :class:`PredSimAuxHead`."""
    if len(shape) == 1:
        linear = nn.Linear(*shape, num_classes)
        nn.init.zeros_(linear.weight)
        return linear
    channels, *sides = shape
    grid, window = list(sides), [1, 1]
    while channels * grid[0] * grid[1] > limit and max(grid) > 1:
        longer = grid.index(max(grid))
        window[longer] *= 2
        grid[longer] = -(-sides[longer] // window[longer])
    padding = [w // 2 if side % w else 0 for side, w in zip(sides, window, strict=True)]
    features = channels * grid[0] * grid[1]
    return nn.Sequential(
        nn.AvgPool2d(tuple(window), padding=tuple(padding)),
        nn.Flatten(),
        nn.Linear(features, num_classes),
    )


def _label_vectors(target: torch.Tensor, num_classes: int, dtype: torch.dtype) -> torch.Tensor:
    """(N, num_classes): one-hot of class indices, scores as they are."""
    if target.ndim == 1:
        target = target[:, None] == torch.arange(num_classes, device=target.device)
    return target.to(dtype)
