"""Checks of the keys of a data set or transform, whose class, ``owner``, the error names."""

from collections.abc import Sequence
from typing import Any

from mman.utils import UserError


def require_choice(owner: object, key: str, value: Any, choices: Sequence) -> None:
    """Refuse a value of a key that is none of the choices; ``True`` does not pass for ``1``."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        right = ', '.join(map(repr, choices))
        raise UserError(f'{type(owner).__name__}: {key}={value!r} must be one of {right}.')
