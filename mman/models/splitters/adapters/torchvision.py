"""Units of torchvision's models, in our TorchvisionBackbone.

An adapter for one of torchvision's classes is registered as
``torchvision.<class name>`` and takes the TorchvisionBackbone. Models without
one are cut where their layers are in a row.
"""

from functools import partial

import torch
from torch import nn
from torchvision.models.maxvit import MaxVitBlock

from mman.registry import UNIT_ADAPTERS

from ...backbones.torchvision_backbone import with_class_token
from ..unit import Unit
from .channels_last import with_maps
from .model_part import ModelPart
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


def _stem(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) to tokens (N, L, C) that know their place, the class token first."""
    tokens = with_class_token(model.conv_proj(images), model.class_token)
    return model.dropout(tokens + model.pos_embedding)


@UNIT_ADAPTERS.register_module(name='torchvision.VisionTransformer')
def torchvision_vision_transformer_units(backbone: nn.Module) -> list[Unit]:
    """Units of torchvision's VisionTransformer: the stem, then every layer.

    They hand on tokens (L, C). The final norm follows the last layer.
    """
    stem = ('conv_proj', 'class_token', 'encoder.pos_embedding', 'encoder.dropout')
    names = [path.rpartition('.')[2] for path in stem]
    compose = partial(ModelPart, names=names, settings=nn.Module(), step=_stem)
    units = [Unit.of(backbone, 0, 0, *stem, compose=compose, num_extra_tokens=1)]
    for index, (name, _) in enumerate(backbone.encoder.layers.named_children()):
        units.append(Unit.of(backbone, 1, index, f'encoder.layers.{name}', num_extra_tokens=1))
    units[-1] = units[-1].with_output(backbone, 'encoder.ln')
    return units
