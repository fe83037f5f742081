from collections.abc import Mapping
from math import isfinite
from numbers import Integral, Real

from mman.utils import UserError

LossScale = str | float | Mapping[str, float]

_CHECKS = {
    'init_scale': (lambda value: value > 0, 'a number above 0'),
    'growth_factor': (lambda value: value > 1, 'a number above 1'),
    'backoff_factor': (lambda value: 0 < value < 1, 'a number between 0 and 1'),
    'growth_interval': (
        lambda value: isinstance(value, Integral) and value > 0,
        'an integer from 1',
    ),
}


def grad_scaler_arguments(loss_scale: LossScale) -> tuple[dict[str, float], float | None]:
    """What a config's ``loss_scale`` means for torch's GradScaler.

    Args:
        loss_scale (str | float | dict): 'dynamic', torch's defaults; a number,
            the scale for good; or ``init_scale``, ``growth_factor``,
            ``backoff_factor`` and ``growth_interval`` of a dynamic one.

    Returns:
        tuple: Keyword arguments of GradScaler, and the number or None.

    Raises:
        UserError: If it is none of these or a value is out of range; torch
            itself accepts some that never work.
    """
    if loss_scale == 'dynamic':
        return {}, None
    if _is_number(loss_scale) and loss_scale > 0:
        return dict(init_scale=float(loss_scale)), float(loss_scale)
    if not isinstance(loss_scale, Mapping):
        raise UserError(
            f"optim_wrapper.loss_scale={loss_scale!r} should be 'dynamic', a number above 0, or a "
            f'dict of {", ".join(_CHECKS)}'
        )
    for key, value in loss_scale.items():
        _check(key, value)
    return dict(loss_scale), None


def _check(key: str, value: float) -> None:
    """Raise unless GradScaler can work with the value."""
    if key not in _CHECKS:
        raise UserError(
            f'optim_wrapper.loss_scale has the key {key!r}, but takes {", ".join(_CHECKS)}'
        )
    valid, wanted = _CHECKS[key]
    if not _is_number(value) or not valid(value):
        raise UserError(f'optim_wrapper.loss_scale.{key}={value!r} should be {wanted}')


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)
