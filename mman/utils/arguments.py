"""Errors of single values, which classes raise of their arguments and checks of configs of keys."""

from collections.abc import Iterable, Mapping
from typing import Any

from .errors import UserError

#: What starts distributed processes, by the names that MMEngine knows.
LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')


def should_be(where: str, value: Any, right: str, owner: object = None) -> UserError:
    """The error of a value, with what would be right.

    Args:
        where (str): The argument, or the path in the config.
        value (Any): What it has.
        right (str): What would be right.
        owner (object): An instance of the class whose argument it is, which the
            message names. Defaults to None, ``where`` says enough.
    """
    of = '' if owner is None else f' of {type(owner).__name__}'
    return UserError(f'{where}={value!r}{of} should be {right}')


def dict_at(where: str, value: Any) -> Mapping:
    """The value, which must be a dict."""
    if not isinstance(value, Mapping):
        raise should_be(where, value, 'a dict')
    return value


def one_of(where: str, value: Any, known: Iterable, owner: object = None) -> None:
    """Refuse a value that is none of those known."""
    known = tuple(known)
    if value not in known:
        raise should_be(where, value, f'one of {", ".join(map(str, known))}', owner)


def integer_from(least: int, where: str, value: Any, owner: object = None) -> None:
    """Refuse what is no integer from ``least`` on."""
    if type(value) is not int or value < least:
        raise should_be(where, value, f'an integer from {least} on', owner)


def true_or_false(where: str, value: Any, owner: object = None) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise should_be(where, value, 'True or False', owner)
