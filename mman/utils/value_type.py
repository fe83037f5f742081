"""Whether a value of a config is of the type that a parameter says."""

import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from numbers import Integral, Number, Real
from typing import Any

_LISTS = (list, tuple, set, range)
# Annotations that say less than the code takes.
_WRONG = {('AmpOptimWrapper', 'loss_scale'), ('CAEPretrainViT', 'bias')}


def type_problem(
    value: Any, parameter: inspect.Parameter, owner: str = '', exact: bool = True
) -> str | None:
    """What ``value`` should be instead, or None if it may be right.

    Decided by the annotation. Without one, by the default: a number does not
    stand for a word, nor a word for a number. Lists pass for tuples, since
    configs in JSON and YAML have no others; True does not pass for 1. Where an
    annotation names a class, a dict may stand for an instance of it.

    Args:
        value (Any): From a config.
        parameter (inspect.Parameter): With its annotation as an object.
        owner (str): The class or function. Defaults to '', of no matter.
        exact (bool): Whether annotations mean what they say. Otherwise, as in
            mmpretrain's own configs, a list of what they say is right too, None for
            an initialisation, and a fraction for an integer. Defaults to True.
    """
    if (owner, parameter.name) in _WRONG:
        return None
    if not exact:
        return _loose_problem(value, parameter)
    default = parameter.default
    if has_nan(value):
        return 'a number'
    if value is None and default is None:
        return None
    if parameter.annotation is parameter.empty:
        return None if _like(value, default) else f'like its default, {default!r}'
    if fits(value, parameter.annotation):
        return None
    return type_name(parameter.annotation)


def _loose_problem(value: Any, parameter: inspect.Parameter) -> str | None:
    if value is None and parameter.name == 'init_cfg':
        return None
    found = type_problem(value, parameter)
    if found is None or has_nan(value):
        return found
    if isinstance(value, float) and math.isfinite(value):
        return type_problem(0, parameter)
    if isinstance(value, _LISTS) and value:
        return found if any(_loose_problem(item, parameter) for item in value) else None
    return found


def has_nan(value: Any) -> bool:
    """Whether it is a float that is no number, or a list with one."""
    if isinstance(value, (list, tuple)):
        return any(has_nan(item) for item in value)
    return isinstance(value, float) and math.isnan(value)


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value may stand where an annotation is."""
    if annotation in (Any, object, inspect.Parameter.empty) or isinstance(annotation, str):
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin is typing.Annotated:
        return fits(value, arguments[0])
    kind = origin or annotation
    if value is None:
        return kind in (None, type(None))
    if not isinstance(kind, type):
        return True
    return _fits_class(value, kind, arguments)


def _fits_class(value: Any, kind: type, arguments: tuple) -> bool:
    if kind is type(None):
        return False
    if kind is bool:
        return isinstance(value, bool) or (isinstance(value, int) and value in (0, 1))
    if issubclass(kind, Number):
        number = Integral if issubclass(kind, Integral) else Real
        return isinstance(value, number) and not isinstance(value, bool)
    if kind is str or issubclass(kind, os.PathLike):
        return isinstance(value, (str, os.PathLike))
    if issubclass(kind, Mapping):
        return isinstance(value, Mapping)
    if kind is Callable:
        return not isinstance(value, (bool, Number, *_LISTS))
    if issubclass(kind, (Iterable, *_LISTS)) and kind.__module__ in ('builtins', 'collections.abc'):
        items = [one for one in arguments if one is not Ellipsis]
        return isinstance(value, _LISTS) and (
            not items or all(any(fits(v, one) for one in items) for v in value)
        )
    return isinstance(value, (kind, Mapping)) or issubclass(kind, (Enum, type))


def _like(value: Any, default: Any) -> bool:
    """Whether a value may stand where a default is; unknown is yes."""
    if value is None:
        return not isinstance(default, Number)
    if isinstance(default, bool):
        return isinstance(value, bool) or (isinstance(value, int) and value in (0, 1))
    if isinstance(default, str):
        return not isinstance(value, (bool, Number))
    if isinstance(default, Number):
        return not isinstance(value, (bool, str, Mapping))
    if isinstance(default, (list, tuple)):
        return not isinstance(value, (bool, float, str))
    if isinstance(default, Mapping):
        return not isinstance(value, (bool, Number, str))
    return True


def type_name(annotation: Any) -> str:
    """How a message calls a type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return ' or '.join(dict.fromkeys(type_name(one) for one in arguments))
    if annotation in (None, type(None)):
        return 'None'
    if origin is typing.Literal:
        return ' or '.join(map(repr, arguments))
    names = {
        bool: 'True or False',
        int: 'an integer',
        float: 'a number',
        Number: 'a number',
        str: 'a string',
        dict: 'a dict',
        list: 'a list',
        tuple: 'a list',
    }
    kind = origin or annotation
    if kind in names:
        return names[kind]
    if isinstance(kind, type) and issubclass(kind, Iterable) and origin is not None:
        return 'a list'
    return getattr(kind, '__name__', str(kind))
