"""Whether a checkpoint fits a model exactly."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from .errors import UserError


def fitting_weights(
    model: nn.Module,
    checkpoint: Mapping[str, Any],
    name: str,
    advice: str,
    allow_missing: Sequence[str] = (),
) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint, if they fit the model exactly.

    Args:
        model (nn.Module): The model; it is left alone.
        checkpoint (Mapping): As saved: ``state_dict`` and ``meta``, or weights
            alone.
        name (str): What an error calls it.
        advice (str): What to do where it does not fit.
        allow_missing (Sequence[str]): Prefixes of entries that it may lack.
            Defaults to none.

    Raises:
        UserError: If it is of another split, or has missing, unknown or
            misshapen entries; names them.
    """
    _check_split(model, checkpoint.get('meta') or {}, name)
    weights = {
        key.removeprefix('module.'): value
        for key, value in checkpoint.get('state_dict', checkpoint).items()
    }
    own, optional = model.state_dict(), tuple(allow_missing)
    problems = {
        'lacks': [key for key in own if key not in weights and not key.startswith(optional)],
        'has unknown': [key for key in weights if key not in own],
        'has misshapen': [
            key for key in own if key in weights and not _is_like(weights[key], own[key])
        ],
    }
    found = [f'{what} {_short(keys)}' for what, keys in problems.items() if keys]
    if found:
        raise UserError(f'{name} does not fit the model: it {"; it ".join(found)}. {advice}')
    return weights


def _is_like(value: Any, own: torch.Tensor) -> bool:
    """Whether a value can be copied into a tensor of the model as it is."""
    return (
        isinstance(value, torch.Tensor)
        and value.shape == own.shape
        and value.layout == torch.strided
        and not value.is_meta
        and not value.is_quantized
        and value.is_complex() == own.is_complex()
    )


def _check_split(model: nn.Module, meta: Mapping, name: str) -> None:
    saved, ends = meta.get('block_ends'), getattr(model, 'block_ends', None)
    if saved is not None and ends is not None and list(saved) != list(ends):
        raise UserError(
            f'{name} has {len(saved)} local blocks ending at {_short(saved)}, the config '
            f'{len(ends)} ending at {_short(ends)}: use the config it was trained with'
        )


def _short(names: Sequence[str]) -> str:
    """The first few names and how many more there are."""
    shown = ', '.join(map(str, names[:4]))
    return shown if len(names) <= 4 else f'{shown} and {len(names) - 4} more'
