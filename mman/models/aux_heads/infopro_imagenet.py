import torch
from torch import nn

from mman.registry import MODELS
from mman.utils import UserError

from .base import AuxHead
from .context import BlockContext, LocalBatch
from .image_decoder import ImageNetDecoder
from .infopro import infopro_losses
from .loss_weight import LossWeight, loss_weight, require_loss


@MODELS.register_module()
class InfoProImageNetAuxHead(AuxHead):
    """InfoPro's head for large images (Wang et al., ICLR 2021, ImageNet).

    The losses of :class:`InfoProAuxHead` with cross-entropy as the task loss.
    The decoder is :class:`.ImageNetDecoder`. The classifier is a 1 x 1
    convolution to C / 4, 3 x 3 convolutions of stride 2 to 256 and 512, and a
    1 x 1 convolution to 2048, each with BatchNorm and ReLU, then a global pool
    and a linear layer. InfoPro gives it for C = 512 and 1024; other widths
    follow the same rule.

    Args:
        context (BlockContext): Where the head stands. Of tokens it sees the patches, as a map.
        reconstruction_weight (float | list | dict): See
            :func:`.loss_weight.loss_weight`.
        task_weight (float | list | dict): Likewise.
        decoder (str): 'factored', the published decoder computed in a cheaper
            order, or 'resize_first', computed as the release does. Defaults to
            'factored'.
        init_cfg (dict | list | None): Defaults to He initialisation (fan out)
            of convolutions; linear layers keep torch's own.
    """

    recompute_parts = dict(decoder=('decoder',), classifier=('aux_net',))
    _INIT = dict(type='Kaiming', layer='Conv2d')

    def __init__(
        self,
        context: BlockContext,
        reconstruction_weight: LossWeight,
        task_weight: LossWeight,
        decoder: str = 'factored',
        init_cfg: dict | list | None = _INIT,
    ):
        super().__init__(context, init_cfg)
        if decoder not in ('factored', 'resize_first'):
            raise UserError(
                f"decoder={decoder!r} of InfoProImageNetAuxHead should be 'factored' or "
                "'resize_first'"
            )
        self.reconstruction_weight = loss_weight(
            reconstruction_weight, context, 'reconstruction_weight'
        )
        self.task_weight = loss_weight(task_weight, context, 'task_weight')
        require_loss(
            context,
            reconstruction_weight=self.reconstruction_weight,
            task_weight=self.task_weight,
        )
        shape = context.map_shape
        if self.reconstruction_weight:
            self.decoder = ImageNetDecoder(shape, context.input_shape, decoder)
        if self.task_weight:
            self.aux_net = _aux_net(shape[0], context.num_classes)
            self.criterion = nn.CrossEntropyLoss()

    @property
    def has_classifier(self) -> bool:
        """Whether :meth:`logits` gives class scores: if there is a task loss."""
        return bool(self.task_weight)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """The output of the aux net; see :meth:`AuxHead.logits`."""
        if not self.has_classifier:
            return super().logits(features)
        return self.aux_net(self.as_map(features))

    def loss(self, features: torch.Tensor, batch: LocalBatch) -> dict[str, torch.Tensor]:
        """See :meth:`AuxHead.loss`."""
        return infopro_losses(self, features, batch)


def _aux_net(channels: int, num_classes: int) -> nn.Module:
    """The classifier; see :class:`InfoProImageNetAuxHead`."""
    layers: list[nn.Module] = []
    inputs = channels
    for outputs, kernel, stride in (
        (max(channels // 4, 1), 1, 1),
        (256, 3, 2),
        (512, 3, 2),
        (2048, 1, 1),
    ):
        layers += [
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
        inputs = outputs
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes)
    )
