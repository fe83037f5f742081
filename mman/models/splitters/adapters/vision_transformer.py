from functools import partial

import torch
from mmpretrain.models.utils import resize_pos_embed
from torch import nn

from mman.registry import UNIT_ADAPTERS
from mman.utils import UserError

from ..unit import Unit, stage_units


class PatchTokens(nn.Module):
    """The stem of a vision transformer: images to tokens that know their place.

    Args:
        patch_embed (nn.Module): mmpretrain's ``PatchEmbed``.
        *parts: The class token if there is one, the position embedding, then
            modules that the tokens pass.
        resolution (tuple[int, int]): (h, w) that the embedding is for.
        mode (str): How it is resized for others.
        num_extra_tokens (int): How many of its tokens are no patches.
    """

    def __init__(
        self,
        patch_embed: nn.Module,
        *parts: nn.Module | nn.Parameter,
        resolution: tuple[int, int],
        mode: str,
        num_extra_tokens: int,
    ):
        super().__init__()
        *class_token, pos_embed, drop, norm = parts
        self.patch_embed = patch_embed
        self.cls_token = class_token[0] if class_token else None
        self.pos_embed = pos_embed
        self.after = nn.Sequential(drop, norm)
        self.resolution = tuple(resolution)
        self.mode = mode
        self.num_extra_tokens = num_extra_tokens

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, L, C), the class token first."""
        x, resolution = self.patch_embed(images)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        places = resize_pos_embed(
            self.pos_embed, self.resolution, resolution, self.mode, self.num_extra_tokens
        )
        return self.after(x + places)


class TokenOutput(nn.Module):
    """What a vision transformer returns of its last layer's tokens, by its ``out_type``.

    ``norms`` are of all tokens, and for 'avg_featmap' the last is of their mean.
    """

    def __init__(self, *norms: nn.Module, out_type: str, num_extra_tokens: int):
        super().__init__()
        after = norms[-1:] if out_type == 'avg_featmap' else ()
        self.norm = nn.Sequential(*norms[: len(norms) - len(after)])
        self.after = nn.Sequential(*after)
        self.out_type = out_type
        self.num_extra_tokens = num_extra_tokens

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, L, C) to (N, L, C) for 'raw', and to (N, C) for the others."""
        x = self.norm(x)
        if self.out_type == 'cls_token':
            return x[:, 0]
        if self.out_type == 'avg_featmap':
            return self.after(x[:, self.num_extra_tokens :].mean(dim=1))
        return x


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
    token = ['cls_token'] if backbone.cls_token is not None else []
    stem = ['patch_embed', *token, 'pos_embed', 'drop_after_pos', 'pre_norm']
    embed = partial(
        PatchTokens,
        resolution=backbone.patch_resolution,
        mode=backbone.interpolate_mode,
        num_extra_tokens=extra,
    )
    units = [Unit.of(backbone, 0, 0, *stem, compose=embed, num_extra_tokens=extra)]
    units += stage_units(backbone, ['layers'], num_extra_tokens=extra)
    norms = ['ln1'] if backbone.final_norm else []
    norms += ['ln2'] if backbone.out_type == 'avg_featmap' else []
    finish = partial(TokenOutput, out_type=backbone.out_type, num_extra_tokens=extra)
    units[-1] = units[-1].with_output(backbone, *norms, compose=finish)
    return units
