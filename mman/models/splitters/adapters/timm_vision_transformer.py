import torch
from torch import nn

from mman.registry import UNIT_ADAPTERS

from ..unit import Unit, stage_units
from .model_part import model_part

# A model has those of them that it needs.
_STEM = (
    *('patch_embed', 'cls_token', 'reg_token', 'dist_token'),
    *('pos_embed', 'pos_drop', 'patch_drop', 'norm_pre'),
)
_TAIL = ('norm', 'fc_norm', 'head_drop', 'head', 'head_dist')


def _stem(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) to tokens (N, L, C) that know their place, class token and the like first."""
    return model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(images))))


def _tail(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """(N, L, C) to what the model returns, tokens or, of a distilled DeiT, (N, C)."""
    return model.forward_head(model.norm(x))


@UNIT_ADAPTERS.register_module(name='timm.VisionTransformer')
def timm_vision_transformer_units(backbone: nn.Module) -> list[Unit]:
    """Units of timm's VisionTransformer, DeiT among them: the stem, then every block.

    The stem makes tokens (L, C) of the patches, with the class token, other
    extra tokens and the places. The last block's output passes the final norm.
    """
    model, prefix = backbone.timm_model, 'timm_model.'
    extra = model.num_prefix_tokens
    names, compose = model_part(model, _STEM, _stem)
    paths = [prefix + name for name in names]
    stem = Unit.of(backbone, 0, 0, *paths, compose=compose, num_extra_tokens=extra)
    *units, last = stage_units(backbone, ['timm_model.blocks'], num_extra_tokens=extra)
    names, compose = model_part(model, _TAIL, _tail)
    paths = [prefix + name for name in names]
    return [stem, *units, last.with_output(backbone, *paths, compose=compose)]
