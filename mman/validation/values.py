"""Numbers, words, lists and dicts of a config, held against what a parameter says."""

import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from numbers import Integral, Number, Real
from typing import Any

from mman.utils.errors import UserError
from mman.utils.signature import check_keys, signature_of

_LISTS = (list, tuple, set, range)
# How a message calls a kind of values, what they are, and what annotations call them.
_KINDS = (
    ('True or False', bool, bool),
    ('an integer', Integral, Integral),
    ('a number', Real, Number),
    ('a string', (str, os.PathLike), (str, os.PathLike)),
    ('a dict', Mapping, Mapping),
    ('a list', _LISTS, (*_LISTS, Iterable)),
    ('None', type(None), type(None)),
)
# What stands for a default, beside others of its kind.
_LIKE = {
    'an integer': {'a number', 'a list'},
    'a number': {'an integer', 'a list'},
    'a string': {'a dict', 'a list', 'None'},
    'a dict': {'a list', 'None'},
    'a list': {'a dict', 'an integer', 'None'},
}
# Whose annotations mean what they say, and those that say less than the code takes.
_EXACT = ('mman.', 'torch.', 'mmengine.')
_WRONG = (('AmpOptimWrapper', 'loss_scale'), ('CAEPretrainViT', 'bias'))
# key -> the least integer that works; what is below would train nothing or fail in the midst.
_LEAST = dict(
    max_epochs=1, max_iters=1, val_interval=1, val_begin=0, batch_size=1, num_workers=0,
    prefetch_factor=1, num_batch_per_epoch=1, window_size=1, accumulative_counts=1,
    base_batch_size=1, num_classes=1, begin=0, end=1, num_digits=0, resource_limit=1,
    opencv_num_threads=0, interval_exp_name=1,
)  # fmt: skip
# More of any of these is a slip, and would fill the memory or never end.
_MOST = dict(num_digits=20, num_workers=1024, opencv_num_threads=1024, resource_limit=2**31 - 1)
_FROM_ZERO = ('.eps', '.lr', '.weight_decay', '.optimizer.momentum', '_mult')
_ABOVE_ZERO = ('.max_norm', '.clip_value', 'dist_cfg.timeout')
_ANY_LARGE = ('max_norm', 'clip_value', 'norm_type')


def check_call(
    value: Mapping, where: str, target: Callable, given: tuple = (), extra: tuple = ()
) -> None:
    """Check keys, kinds and ranges of what a class or function will be given.

    ``given`` are keys that the caller adds, ``extra`` further ones of any kind.
    """
    check_keys(value, where, target, given, extra)
    check_kinds({k: v for k, v in value.items() if k not in extra}, where, target)
    check_ranges(value, where)


def check_kinds(value: Mapping, where: str, target: Callable) -> None:
    """Refuse values of another kind than a class or function says, and numbers that are none."""
    parameters, name = signature_of(target).parameters, getattr(target, '__name__', str(target))
    loose = not getattr(target, '__module__', '').startswith(_EXACT)
    for key, item in value.items():
        check_finite(item, f'{where}.{key}')
        if key in parameters and (name, key) not in _WRONG:
            wanted = kind_problem(item, parameters[key], loose)
            if wanted is not None:
                raise UserError(f'{where}.{key}={item!r} of {name} should be {wanted}')


def kind_problem(value: Any, parameter: inspect.Parameter, loose: bool = False) -> str | None:
    """What kind ``value`` should be of instead, or None if it may be right.

    Decided by the annotation, without one by the default. Objects pass.

    Args:
        value (Any): From a config.
        parameter (inspect.Parameter): With its annotation as an object.
        loose (bool): Whether a list of what the annotation says is right too, a fraction
            for an integer, and None for an initialisation. Defaults to False.
    """
    default = parameter.default
    if value is None and (default is None or (loose and parameter.name == 'init_cfg')):
        return None
    if parameter.annotation is not parameter.empty:
        right = fits(value, parameter.annotation, loose)
        return None if right else ' or '.join(dict.fromkeys(_names(parameter.annotation)))
    kind, kinds = _kind(value), {_kind(default), *_LIKE.get(_kind(default), ())}
    if default is None or kinds & {None, kind} or (default is False and value in (0, 1)):
        return None
    if loose and kind == 'a list' and value:
        return next(filter(None, (kind_problem(one, parameter, True) for one in value)), None)
    return f'like its default, {default!r}'


def fits(value: Any, annotation: Any, loose: bool = False) -> bool:
    """Whether a value may stand where an annotation is, as for :func:`kind_problem`."""
    origin = typing.get_origin(annotation) or annotation
    inside = [one for one in typing.get_args(annotation) if one is not Ellipsis]
    kind = _kind(value)
    if loose and kind == 'a list' and value and all(fits(v, annotation, True) for v in value):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one, loose) for one in inside)
    if origin is typing.Literal:
        return value in inside
    if origin is Callable:
        return kind in (None, 'a string', 'a dict')
    (name,) = _names(annotation)
    if name in (None, kind):
        items = inside if kind == 'a list' else []
        return not items or all(any(fits(v, one, loose) for one in items) for v in value)
    if name == 'True or False':
        return kind == 'an integer' and value in (0, 1)
    if kind == 'an integer' or (loose and kind == 'a number' and math.isfinite(value)):
        return name in ('an integer', 'a number')
    # Elsewhere a dict may stand for an instance of a class.
    return kind is None or (kind == 'a dict' and name not in {row[0] for row in _KINDS})


def _kind(value: Any) -> str | None:
    return next((name for name, kind, _ in _KINDS if isinstance(value, kind)), None)


def _names(annotation: Any) -> list[str | None]:
    """How a message calls an annotation; None for what may be anything."""
    kind, inside = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if kind in (typing.Union, types.UnionType):
        return [name for one in inside for name in _names(one)]
    if kind is typing.Literal:
        return [repr(one) for one in inside]
    if kind is None:
        return ['None']
    if not isinstance(kind, type) or kind in (object, Any) or issubclass(kind, (Enum, type)):
        return [None]
    plain = kind.__module__ in ('builtins', 'collections.abc', 'numbers', 'os', 'pathlib')
    found = (name for name, _, base in _KINDS if plain and issubclass(kind, base))
    return [next(found, kind.__name__)]


def check_finite(value: Any, where: str) -> None:
    """Refuse numbers that are none, and infinite ones but for limits of gradient norms.

    Learning rates, decays and what keeps a root from zero are from 0 on, whoever takes them.
    """
    if isinstance(value, Real) and where.endswith(_ABOVE_ZERO) and value <= 0:
        raise UserError(f'{where}={value!r} should be a number above 0')
    if isinstance(value, Real) and where.endswith(_FROM_ZERO) and value < 0:
        raise UserError(f'{where}={value!r} should be a number from 0 on')
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_finite(item, f'{where}.{key}')
    for item in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(item, float) and not math.isfinite(item):
            if math.isnan(item) or not where.endswith(_ANY_LARGE):
                raise UserError(f'{where}={value!r} should be a finite number')


def check_ranges(value: Mapping, where: str) -> None:
    """Refuse what is no integer, or one out of the range of its key."""
    for key, number in value.items():
        if key not in _LEAST or number is None:
            continue
        least, most = _LEAST[key], _MOST.get(key, math.inf)
        if _kind(number) != 'an integer' or number < least:
            raise UserError(f'{where}.{key}={number!r} should be an integer from {least} on')
        if number > most:
            raise UserError(f'{where}.{key}={number!r} should be at most {most}')
