"""What a checkpoint holds, and whether it fits a model exactly."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from .errors import UserError, few


def weights_and_meta(
    checkpoint: Mapping[str, Any], name: str
) -> tuple[dict[str, torch.Tensor], Mapping[str, Any]]:
    """The weights, by name in the model without wrappers, and what is said of them.

    A checkpoint is ``state_dict`` and ``meta``, or weights alone; ``name`` is what an
    error calls it.

    Raises:
        UserError: If they, or the optimizers' state beside them, are none.
    """
    meta, weights = checkpoint.get('meta') or {}, checkpoint.get('state_dict', checkpoint)
    for key, part in dict(
        state_dict=weights, meta=meta, optimizer=checkpoint.get('optimizer', {})
    ).items():
        if not isinstance(part, Mapping) or not all(isinstance(k, str) for k in part):
            raise UserError(f'{name} is no checkpoint of training: {key} should be a dict by name')
    if not isinstance(meta.get('block_ends') or [], list | tuple):
        raise UserError(f'{name} has meta.block_ends={meta["block_ends"]!r}, which is no list')
    return {key.removeprefix('module.'): value for key, value in weights.items()}, meta


def fitting_weights(
    model: nn.Module,
    checkpoint: Mapping[str, Any],
    name: str,
    advice: str,
    allow_missing: Sequence[str] = (),
) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint, if they fit the model exactly; the model is left alone.

    Args:
        model (nn.Module): The model.
        checkpoint (Mapping): As for :func:`weights_and_meta`.
        name (str): What an error calls it.
        advice (str): What to do where it does not fit.
        allow_missing (Sequence[str]): Prefixes of entries that it may lack.

    Raises:
        UserError: If it is of another split, or has missing, unknown or
            misshapen entries; names them.
    """
    weights, meta = weights_and_meta(checkpoint, name)
    saved, ends = meta.get('block_ends'), getattr(model, 'block_ends', None)
    if saved is not None and ends is not None and list(saved) != list(ends):
        raise UserError(
            f'{name} has {len(saved)} local blocks ending at {few(saved)}, the config '
            f'{len(ends)} ending at {few(ends)}: use the config it was trained with'
        )
    own, optional = model.state_dict(), tuple(allow_missing)
    problems = {
        'lacks': [key for key in own if key not in weights and not key.startswith(optional)],
        'has unknown': [key for key in weights if key not in own],
        'has misshapen': [
            key + _shapes(weights[key], own[key])
            for key in own
            if key in weights and not _is_like(weights[key], own[key])
        ],
    }
    found = [f'{what} {few(keys)}' for what, keys in problems.items() if keys]
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


def _shapes(value: Any, own: torch.Tensor) -> str:
    """Both shapes, unless the difference is another."""
    found, right = tuple(getattr(value, 'shape', ())), tuple(own.shape)
    return '' if found == right else f' {found} instead of {right}'
