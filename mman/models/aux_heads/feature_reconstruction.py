import torch
import torch.nn.functional as F
from torch import nn

from mman.registry import MODELS
from mman.utils import UserError

from .base import AuxHead
from .context import BlockContext, LocalBatch
from .image_decoder import ResizedConv2d
from .loss_weight import LossWeight, loss_weights


@MODELS.register_module()
class FeatureReconstructionAuxHead(AuxHead):
    """Rebuild what the block was given, and predict the label (Pathak et al., arXiv 2212.14215).

    InfoPro with another target: the decoder rebuilds the block's input, features
    of the block before, instead of the image; of the first block that is the
    normalised image. Loss of a block: ``reconstruction_weight * MSE(decoder(y),
    input) + task_weight * CE(linear(pooled y))``. A loss whose weight is 0 in a
    block is not computed there, and its network not built.

    The paper, on Swin-Tiny, compares three decoders. Their layers and the loss
    weights were not to be had in public sources, so these are ours: two layers as
    wide as the features, the first with normalisation and activation; 3 x 3
    convolutions for maps, the features resized to the input's size, and linear
    layers for tokens.

    Args:
        context (BlockContext): Where the head stands. Maps and tokens; tokens
            are rebuilt as tokens, or from their patches as a map if the input is one.
        reconstruction_weight (float | list | dict): See
            :func:`.loss_weight.loss_weight`. Defaults to 1.0.
        task_weight (float | list | dict): Likewise. Defaults to 1.0.
        init_cfg (dict | list | None): Defaults to He initialisation of
            convolutions; linear layers keep torch's own.

    Raises:
        UserError: If both weights are 0, or the features are vectors.
    """

    recompute_parts = dict(decoder=('decoder',), classifier=('fc',))
    uses_block_input = True
    _INIT = dict(type='Kaiming', layer='Conv2d')

    def __init__(
        self,
        context: BlockContext,
        reconstruction_weight: LossWeight = 1.0,
        task_weight: LossWeight = 1.0,
        init_cfg: dict | list | None = _INIT,
    ):
        super().__init__(context, init_cfg)
        self.reconstruction_weight, self.task_weight = loss_weights(
            context, reconstruction_weight=reconstruction_weight, task_weight=task_weight
        )
        self.has_classifier = bool(self.task_weight)
        self.on_map = len(context.block_input_shape) == 3
        _check_shapes(context, self.on_map)
        if self.reconstruction_weight:
            self.decoder = _map_decoder(context) if self.on_map else _token_decoder(context)
        if self.task_weight:
            self.fc = nn.Linear(context.channels, context.num_classes)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """See :meth:`AuxHead.logits`."""
        if not self.has_classifier:
            return super().logits(features)
        return self.fc(self.pooled(features))

    def loss(self, features: torch.Tensor, batch: LocalBatch) -> dict[str, torch.Tensor]:
        """See :meth:`AuxHead.loss`."""
        losses = {}
        if self.reconstruction_weight:
            rebuilt = self.decoder(self.as_map(features) if self.on_map else features)
            # Never in half precision, whatever the autocast dtype of the decoder.
            rebuilt = rebuilt.to(torch.promote_types(rebuilt.dtype, torch.float32))
            mse = F.mse_loss(rebuilt, batch.block_input.to(rebuilt.dtype))
            losses['loss_reconstruction'] = self.reconstruction_weight * mse
        if self.task_weight:
            task = F.cross_entropy(self.logits(features), batch.target)
            losses['loss_task'] = self.task_weight * task
        return losses


def _check_shapes(context: BlockContext, on_map: bool) -> None:
    """Refuse features that are no map or tokens, or whose tokens are not those of the input."""
    given, shape = context.block_input_shape, context.feature_shape
    fits = context.map_shape if on_map or context.is_vector else given[:-1] == shape[:-1]
    if not fits:
        raise UserError(
            f'FeatureReconstructionAuxHead rebuilds tokens from as many tokens, but block '
            f'{context.index} makes {shape} of {given}'
        )


def _map_decoder(context: BlockContext) -> nn.Module:
    """(N, *context.map_shape) to (N, *context.block_input_shape)."""
    channels, (outputs, *size) = context.map_shape[0], context.block_input_shape
    return nn.Sequential(
        ResizedConv2d(channels, channels, 3, tuple(size), factored=True),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, outputs, 3, padding=1),
    )


def _token_decoder(context: BlockContext) -> nn.Module:
    """(N, L, C) to (N, L, C of the block's input), token by token."""
    channels = context.channels
    return nn.Sequential(
        nn.Linear(channels, channels),
        nn.LayerNorm(channels),
        nn.GELU(),
        nn.Linear(channels, context.block_input_shape[-1]),
    )
