import copy
from functools import partial

import torch
from torch import nn

from mman.registry import UNIT_ADAPTERS

from ..unit import Part, Unit

# A model has those of them that it needs.
_STEM = (
    'patch_embed',
    'cls_token',
    'reg_token',
    'dist_token',
    'pos_embed',
    'pos_drop',
    'patch_drop',
    'norm_pre',
)
_TAIL = ('norm', 'fc_norm', 'head_drop', 'head', 'head_dist')


class TokenStem(nn.Module):
    """The stem of timm's VisionTransformer: images to tokens that know their place.

    Args:
        *parts (nn.Module | nn.Parameter): Its parts.
        names (tuple[str, ...]): Their names in the model.
        settings (nn.Module): The model without anything that is trained.
    """

    def __init__(self, *parts: Part, names: tuple[str, ...], settings: nn.Module):
        super().__init__()
        self.model = _with_parts(settings, names, parts)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, L, C), class token and the like first."""
        model = self.model
        return model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(images))))


class TokenOutput(nn.Module):
    """What timm's VisionTransformer makes of its last block's tokens.

    Args:
        *parts (nn.Module): Its parts.
        names (tuple[str, ...]): Their names in the model.
        settings (nn.Module): The model without anything that is trained.
    """

    def __init__(self, *parts: nn.Module, names: tuple[str, ...], settings: nn.Module):
        super().__init__()
        self.model = _with_parts(settings, names, parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, L, C) to what the model returns, tokens or, of a distilled DeiT, (N, C)."""
        return self.model.forward_head(self.model.norm(x))


@UNIT_ADAPTERS.register_module(name='timm.VisionTransformer')
def timm_vision_transformer_units(backbone: nn.Module) -> list[Unit]:
    """Units of timm's VisionTransformer, DeiT among them: the stem, then every block.

    The stem makes tokens (L, C) of the patches, with the class token, other
    extra tokens and the places. The last block's output passes the final norm.
    """
    model = backbone.timm_model
    extra = model.num_prefix_tokens
    units = [_piece(0, 0, model, _STEM, TokenStem, extra)]
    for index, block in enumerate(model.blocks):
        parts = {f'timm_model.blocks.{index}': block}
        units.append(Unit(1, index, parts, num_extra_tokens=extra))
    units[-1] = units[-1].with_output(_piece(1, index, model, _TAIL, TokenOutput, extra))
    return units


def _piece(
    stage: int, index: int, model: nn.Module, names: tuple[str, ...], kind: type, extra: int
) -> Unit:
    """A unit of the named parts that a model has."""
    names = tuple(name for name in names if getattr(model, name, None) is not None)
    parts = {f'timm_model.{name}': getattr(model, name) for name in names}
    compose = partial(kind, names=names, settings=_settings(model))
    return Unit(stage, index, parts, compose=compose, num_extra_tokens=extra)


def _settings(model: nn.Module) -> nn.Module:
    """A model's methods and settings, without its parameters and modules."""
    settings = copy.copy(model)
    for kind in ('_parameters', '_buffers', '_modules'):
        absent = {name: None for name, value in getattr(model, kind).items() if value is None}
        setattr(settings, kind, absent)
    return settings


def _with_parts(settings: nn.Module, names: tuple[str, ...], parts: tuple[Part, ...]) -> nn.Module:
    """A model with some of its parts only, for methods that need no more."""
    model = copy.copy(settings)
    for kind in ('_parameters', '_buffers', '_modules'):
        setattr(model, kind, dict(getattr(settings, kind)))
    for name, part in zip(names, parts, strict=True):
        setattr(model, name, part)
    return model
