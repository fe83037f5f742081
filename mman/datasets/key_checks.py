"""Checks of the keys of a data set or transform, whose class, ``owner``, the error names."""

from collections.abc import Sequence
from typing import Any

from mman.utils import UserError


def require_choice(owner: object, key: str, value: Any, choices: Sequence) -> None:
    """Refuse a value of a key that is none of the choices; ``True`` does not pass for ``1``."""
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        right = ', '.join(map(repr, choices))
        raise UserError(f'{type(owner).__name__}: {key}={value!r} must be one of {right}.')


def chosen_length(owner: object, indices: int | Sequence[int] | None, total: int) -> int:
    """How many samples the key ``indices`` of mmengine's data sets leaves.

    Args:
        owner (object): The data set.
        indices (int | Sequence[int] | None): Its key: the first, or if negative
            the last so many, those at some places, or all.
        total (int): Samples of the split.

    Raises:
        UserError: If there is no sample at one of the places, there are fewer, or none is left.
    """
    if indices is None:
        return total
    if isinstance(indices, int):
        count = abs(indices)
        if count > total:
            raise UserError(
                f'{type(owner).__name__}: indices={indices} is more than the {total} samples of '
                'the split.'
            )
    else:
        beyond = [place for place in indices if not -total <= place < total]
        if beyond:
            raise UserError(
                f'{type(owner).__name__}: indices names the sample {beyond[0]!r}, but the split '
                f'has {total}, counted from 0.'
            )
        count = len(indices)
    if not count:
        raise UserError(f'{type(owner).__name__}: indices={indices!r} leaves no sample.')
    return count
