import re

import torch
import torch.nn.functional as F
from torch import nn

from mman.registry import MODELS
from mman.utils import UserError, one_of, should_be

from ..losses import SupConLoss
from .base import AuxHead
from .context import BlockContext, LocalBatch
from .image_decoder import ImageDecoder, ImageNetDecoder
from .loss_weight import LossWeight, loss_weights

_HE = dict(type='Kaiming', layer='Conv2d')


class _InfoPro(AuxHead):
    """The losses of both heads: of a ``decoder``, and of an ``aux_net`` by ``criterion``."""

    recompute_parts = dict(decoder=('decoder',), classifier=('aux_net',))

    def __init__(
        self,
        context: BlockContext,
        reconstruction_weight: LossWeight,
        task_weight: LossWeight,
        init_cfg: dict | list | None,
    ):
        super().__init__(context, init_cfg)
        self.reconstruction_weight, self.task_weight = loss_weights(
            context, reconstruction_weight=reconstruction_weight, task_weight=task_weight
        )
        self.needs_image = bool(self.reconstruction_weight)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """The output of the aux net; see :meth:`AuxHead.logits`."""
        if not self.has_classifier:
            return super().logits(features)
        return self.aux_net(self.as_map(features))

    def loss(self, features: torch.Tensor, batch: LocalBatch) -> dict[str, torch.Tensor]:
        """See :meth:`AuxHead.loss`."""
        features, losses = self.as_map(features), {}
        if self.reconstruction_weight:
            # Never in half precision, whatever the autocast dtype of the decoder.
            logits = self.decoder(features)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            bce = F.binary_cross_entropy_with_logits(logits, batch.image)
            losses['loss_reconstruction'] = self.reconstruction_weight * bce
        if self.task_weight:
            outputs = self.aux_net(features)
            losses['loss_task'] = self.task_weight * self.criterion(outputs, batch.target)
        return losses


@MODELS.register_module()
class InfoProAuxHead(_InfoPro):
    """InfoPro: rebuild the image and predict the label (Wang et al., ICLR 2021).

    Loss of block k: ``reconstruction_weight * BCE(decoder(y), image) +
    task_weight * task loss``. A loss whose weight is 0 in a block
    is not computed there, and its network not built.

    The aux net 'AcBf' has A 3 x 3 convolutions with BatchNorm and ReLU, a
    global pool, and B linear layers with ReLU between. The first convolution
    doubles the channels at stride 2 below 64 channels and keeps both from 64
    on, times ``widen``; further ones keep the width.

    Args:
        context (BlockContext): Where the head stands. Of tokens it sees the patches, as a map.
        reconstruction_weight (float | list | dict): See
            :func:`.loss_weight.loss_weight`.
        task_weight (float | list | dict): Likewise.
        task_loss (str): 'cross_entropy', or 'contrast', the supervised
            contrastive loss on the output of the aux net.
        net (str): Aux net, 'AcBf' with B from 1 on. Defaults to '2c2f'.
        widen (float): Factor on the widths of the aux net and the decoder.
            Defaults to 1.0.
        feature_dim (int): Width of the hidden linear layers, before
            ``widen``, and of the contrastive output. Defaults to 128.
        temperature (float): Of the contrastive loss. Defaults to 0.07.
        decoder (str): How the image is rebuilt, see :class:`.ImageDecoder`:
            'factored', the published function computed in a cheaper order;
            'resize_first', computed as the releases do, to the last bit; or
            'conv_first', a cheaper network. Defaults to 'factored'.
        init_cfg (dict | list | None): Defaults to He initialisation of
            convolutions; linear layers keep torch's own, as in the release.
    """

    def __init__(
        self,
        context: BlockContext,
        reconstruction_weight: LossWeight,
        task_weight: LossWeight,
        task_loss: str = 'cross_entropy',
        net: str = '2c2f',
        widen: float = 1.0,
        feature_dim: int = 128,
        temperature: float = 0.07,
        decoder: str = 'factored',
        init_cfg: dict | list | None = _HE,
    ):
        one_of('task_loss', task_loss, ('cross_entropy', 'contrast'), self)
        one_of('decoder', decoder, ('factored', 'resize_first', 'conv_first'), self)
        if not widen > 0:
            raise should_be('widen', widen, 'above 0', self)
        super().__init__(context, reconstruction_weight, task_weight, init_cfg)
        channels, contrast = context.map_shape[0], task_loss == 'contrast'
        self.has_classifier = bool(self.task_weight) and not contrast
        if self.reconstruction_weight:
            self.decoder = ImageDecoder(channels, context.input_shape, widen, decoder)
        if self.task_weight:
            outputs = feature_dim if contrast else context.num_classes
            self.aux_net = _aux_net(net, channels, outputs, widen, feature_dim)
            self.criterion = SupConLoss(temperature) if contrast else nn.CrossEntropyLoss()


@MODELS.register_module()
class InfoProImageNetAuxHead(_InfoPro):
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

    def __init__(
        self,
        context: BlockContext,
        reconstruction_weight: LossWeight,
        task_weight: LossWeight,
        decoder: str = 'factored',
        init_cfg: dict | list | None = _HE,
    ):
        one_of('decoder', decoder, ('factored', 'resize_first'), self)
        super().__init__(context, reconstruction_weight, task_weight, init_cfg)
        shape = context.map_shape
        self.has_classifier = bool(self.task_weight)
        if self.reconstruction_weight:
            self.decoder = ImageNetDecoder(shape, context.input_shape, decoder)
        if self.task_weight:
            self.aux_net = _imagenet_aux_net(shape[0], context.num_classes)
            self.criterion = nn.CrossEntropyLoss()


def _aux_net(net: str, channels: int, outputs: int, widen: float, feature_dim: int) -> nn.Module:
    """The aux net 'AcBf' of InfoPro; see :class:`InfoProAuxHead`."""
    match = re.fullmatch(r'(\d)c([1-9])f', net)
    if match is None:
        raise UserError(
            f"net={net!r} of InfoProAuxHead should be like '2c2f': convolutions, then linear "
            'layers, at least one'
        )
    convolutions, linears = map(int, match.groups())
    layers: list[nn.Module] = []
    width = channels
    for i in range(convolutions):
        stride = 2 if i == 0 and channels < 64 else 1
        outs = int((2 * channels if channels < 64 else channels) * widen)
        layers += [
            nn.Conv2d(width, outs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outs),
            nn.ReLU(),
        ]
        width = outs
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    for _ in range(linears - 1):
        layers += [nn.Linear(width, int(feature_dim * widen)), nn.ReLU()]
        width = int(feature_dim * widen)
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def _imagenet_aux_net(channels: int, num_classes: int) -> nn.Module:
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
