import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from mman.registry import UNIT_ADAPTERS

from ..unit import Part, Unit, stage_units

# A model has those of them that it needs.
_STEM = (
    *('patch_embed', 'cls_token', 'reg_token', 'dist_token'),
    *('pos_embed', 'pos_drop', 'patch_drop', 'norm_pre'),
)
_TAIL = ('norm', 'fc_norm', 'head_drop', 'head', 'head_dist')
_KINDS = ('_parameters', '_buffers', '_modules')


class ModelPart(nn.Module):
    """One step of the forward of timm's VisionTransformer.

    Args:
        *parts (nn.Module | nn.Parameter): What of the model it needs.
        names (Sequence[str]): Their names in the model.
        settings (nn.Module): The model without anything that is trained.
        step (Callable): ``step(model, x)`` on the model with these parts only.
    """

    def __init__(self, *parts: Part, names: Sequence[str], settings: nn.Module, step: Callable):
        super().__init__()
        self.model = copy.copy(settings)
        for kind in _KINDS:
            setattr(self.model, kind, dict(getattr(settings, kind)))
        for name, part in zip(names, parts, strict=True):
            setattr(self.model, name, part)
        self.step = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.step(self.model, x)


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
    extra = backbone.timm_model.num_prefix_tokens
    paths, compose = _piece(backbone.timm_model, _STEM, _stem)
    stem = Unit.of(backbone, 0, 0, *paths, compose=compose, num_extra_tokens=extra)
    *units, last = stage_units(backbone, ['timm_model.blocks'], num_extra_tokens=extra)
    paths, compose = _piece(backbone.timm_model, _TAIL, _tail)
    return [stem, *units, last.with_output(backbone, *paths, compose=compose)]


def _piece(model: nn.Module, names: Sequence[str], step: Callable) -> tuple[list[str], Callable]:
    """Paths of the named parts that a model has, and what makes a ModelPart of them."""
    names = [name for name in names if getattr(model, name, None) is not None]
    settings = copy.copy(model)
    for kind in _KINDS:
        absent = {name: None for name, value in getattr(model, kind).items() if value is None}
        setattr(settings, kind, absent)
    compose = partial(ModelPart, names=names, settings=settings, step=step)
    return [f'timm_model.{name}' for name in names], compose
