"""Units of torchvision's models, in our TorchvisionBackbone.

An adapter for one of torchvision's classes is registered as
``torchvision.<class name>`` and takes the TorchvisionBackbone. Models without
one are cut where their layers are in a row.
"""

import torch
from torch import nn
from torchvision.models.maxvit import MaxVitBlock

from mman.registry import UNIT_ADAPTERS

from ...backbones.torchvision_backbone import with_class_token
from ..unit import Unit
from .channels_last import with_maps
from .sequential_units import sequential_units


@UNIT_ADAPTERS.register_module(name='TorchvisionBackbone')
def torchvision_units(backbone: nn.Module) -> list[Unit]:
    """Units of a torchvision model whose layers are in a row."""
    stages = [path for path, part in backbone.named_modules() if isinstance(part, MaxVitBlock)]
    return sequential_units(backbone, backbone.image_shape, stages)


@UNIT_ADAPTERS.register_module(name='torchvision.SwinTransformer')
def torchvision_swin_units(backbone: nn.Module) -> list[Unit]:
    """Units of torchvision's SwinTransformer: the stem, blocks, and what merges patches.

    They hand on maps (C, H, W). The final norm follows the last block.
    """
    return with_maps(sequential_units(backbone, backbone.image_shape, channels_last=True))


class PlacedTokens(nn.Module):
    """The stem of torchvision's VisionTransformer: images to tokens that know their place."""

    def __init__(
        self,
        conv_proj: nn.Module,
        class_token: nn.Parameter,
        pos_embedding: nn.Parameter,
        dropout: nn.Module,
    ):
        super().__init__()
        self.conv_proj = conv_proj
        self.class_token = class_token
        self.pos_embedding = pos_embedding
        self.dropout = dropout

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, W) to (N, L, C), the class token first."""
        tokens = with_class_token(self.conv_proj(images), self.class_token)
        return self.dropout(tokens + self.pos_embedding)


@UNIT_ADAPTERS.register_module(name='torchvision.VisionTransformer')
def torchvision_vision_transformer_units(backbone: nn.Module) -> list[Unit]:
    """Units of torchvision's VisionTransformer: the stem, then every layer.

    They hand on tokens (L, C). The final norm follows the last layer.
    """
    stem = ('conv_proj', 'class_token', 'encoder.pos_embedding', 'encoder.dropout')
    units = [Unit.of(backbone, 0, 0, *stem, compose=PlacedTokens, num_extra_tokens=1)]
    for index, (name, _) in enumerate(backbone.encoder.layers.named_children()):
        units.append(Unit.of(backbone, 1, index, f'encoder.layers.{name}', num_extra_tokens=1))
    units[-1] = units[-1].with_output(backbone, 'encoder.ln')
    return units
