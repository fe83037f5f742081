import torch
from mmpretrain.models.utils import resize_pos_embed
from torch import nn

from mman.registry import UNIT_ADAPTERS
from mman.utils import UserError

from ..unit import Unit, stage_units
from .model_part import model_part

_STEM = ('patch_embed', 'cls_token', 'pos_embed', 'drop_after_pos', 'pre_norm')


def _stem(vit: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) to tokens (N, L, C) that know their place, the class token first."""
    x, resolution = vit.patch_embed(images)
    if vit.cls_token is not None:
        x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], 1)
    places = resize_pos_embed(
        vit.pos_embed,
        vit.patch_resolution,
        resolution,
        vit.interpolate_mode,
        vit.num_extra_tokens,
    )
    return vit.pre_norm(vit.drop_after_pos(x + places))


def _tail(vit: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """(N, L, C) to (N, L, C) for the ``out_type`` 'raw', and to (N, C) for the others."""
    return vit._format_output(vit.ln1(x) if vit.final_norm else x, None)


@UNIT_ADAPTERS.register_module(name='VisionTransformer')
def vision_transformer_units(backbone: nn.Module) -> list[Unit]:
    """Units of mmpretrain's VisionTransformer: the stem, then every layer.

    The stem makes tokens (L, C) of the patches, with the class token and the
    places. The last layer's output passes the final norm and is formatted.
    """
    if backbone.out_type == 'featmap':
        raise UserError(
            "model.backbone.out_type='featmap' should be 'cls_token', 'avg_featmap' or 'raw' in a "
            'VisionTransformer that is cut'
        )
    extra = backbone.num_extra_tokens
    paths, compose = model_part(backbone, _STEM, _stem)
    stem = Unit.of(backbone, 0, 0, *paths, compose=compose, num_extra_tokens=extra)
    *units, last = stage_units(backbone, ['layers'], num_extra_tokens=extra)
    paths, compose = model_part(backbone, ('ln1', 'ln2'), _tail)
    return [stem, *units, last.with_output(backbone, *paths, compose=compose)]
