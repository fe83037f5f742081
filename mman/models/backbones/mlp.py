from collections import OrderedDict
from collections.abc import Sequence
from numbers import Real

import torch
from mmcv.cnn import build_activation_layer, build_norm_layer
from mmengine.model import BaseModule
from torch import nn

from mman.registry import MODELS
from mman.utils import integer_from, should_be


@MODELS.register_module()
class MLP(BaseModule):
    """Fully connected hidden layers over the values of an image.

    A layer is linear, normalised if asked for, and an activation. Dropout is
    between layers and after the last: it belongs to what follows, so that the
    local loss of a block sees its features before dropout, as in the code of
    PredSim (Nøkland & Eidnes, ICML 2019). The classifier is the model's head.

    Args:
        in_features (int): Values of one image, C * H * W.
        widths (Sequence[int]): Features of every hidden layer, in order.
        norm_cfg (dict | None): Norm layer before every activation, such as
            ``dict(type='BN1d')``. Defaults to None.
        act_cfg (dict | None): Activation. Defaults to None, ``dict(type='ReLU')``.
        dropout (float): Probability, from 0 to below 1. Defaults to 0.
        init_cfg (dict | list | None): Defaults to None, torch's own.

    Raises:
        UserError: If an argument is out of range.
    """

    def __init__(
        self,
        in_features: int,
        widths: Sequence[int],
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        dropout: float = 0.0,
        init_cfg: dict | list | None = None,
    ):
        super().__init__(init_cfg)
        integer_from(1, 'in_features', in_features, self)
        if not widths or not all(type(width) is int and width > 0 for width in widths):
            raise should_be('widths', widths, 'one or more integers above 0', self)
        if not isinstance(dropout, Real) or isinstance(dropout, bool) or not 0 <= dropout < 1:
            raise should_be('dropout', dropout, 'a number from 0 to below 1', self)
        starts = [nn.Flatten(), *(_dropout(dropout) for _ in widths[1:])]
        inputs = [in_features, *widths[:-1]]
        self.layers = nn.ModuleList(
            _layer(start, *sizes, norm_cfg, act_cfg or dict(type='ReLU'))
            for start, *sizes in zip(starts, inputs, widths, strict=True)
        )
        self.dropout = _dropout(dropout)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        """Images (N, C, H, W) to features (N, widths[-1]), as a tuple of one."""
        for layer in self.layers:
            x = layer(x)
        return (self.dropout(x),)


def _dropout(probability: float) -> nn.Module:
    return nn.Dropout(probability) if probability else nn.Identity()


def _layer(
    start: nn.Module, inputs: int, outputs: int, norm_cfg: dict | None, act_cfg: dict
) -> nn.Sequential:
    parts = OrderedDict(start=start, linear=nn.Linear(inputs, outputs))
    if norm_cfg is not None:
        parts['norm'] = build_norm_layer(dict(norm_cfg), outputs)[1]
    parts['act'] = build_activation_layer(dict(act_cfg))
    return nn.Sequential(parts)
