"""Numbers, words, lists and dicts of a config, held against what a parameter says."""

import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from numbers import Integral, Number, Real
from typing import Any

from mman.utils import UserError, should_be
from mman.utils.signature import check_keys, signature_of

_LISTS = (list, tuple, set, range)
# What may stand for a default of a type.
_LIKE = {
    bool: bool,
    Real: float | list,
    str: str | dict | list | None,
    Mapping: dict | list | None,
    _LISTS: list | dict | int | None,
}
# How a message calls them; other classes have their own name.
_WORDS = {
    bool: 'True or False',
    Integral: 'an integer',
    Number: 'a number',
    (str, os.PathLike): 'a string',
    Mapping: 'a dict',
    (*_LISTS, Iterable): 'a list',
}
_PLAIN = ('builtins', 'collections.abc', 'numbers', 'os', 'pathlib')
# Whose annotations mean what they say, and those that say less than the code takes.
_EXACT = ('mman.', 'torch.', 'mmengine.')
_WRONG = (('AmpOptimWrapper', 'loss_scale'), ('CAEPretrainViT', 'bias'))
# How paths of integers end, by the least that works; what is below would train nothing or fail in
# the midst.
_LEAST = {
    0: ('.val_begin', '.num_workers', '.begin', '.num_digits', '.opencv_num_threads'),
    1: tuple(
        '.max_epochs .max_iters .val_interval .batch_size .prefetch_factor .num_batch_per_epoch '
        '.accumulative_counts .base_batch_size .end .resource_limit .interval_exp_name '
        'log_processor.window_size model.head.num_classes'.split()
    ),
}
# More of any of these is a slip, and would fill the memory or never end.
_MOST = {
    20: '.num_digits',
    1024: ('.num_workers', '.opencv_num_threads'),
    2**31 - 1: '.resource_limit',
}
_FROM_ZERO = (
    '.eps', '.lr', '.weight_decay', '.optimizer.momentum', '_mult', '.gamma', '.weight', '_weight'
)  # fmt: skip
_TO_ONE = '.optimizer.momentum'
_ABOVE_ZERO = ('.max_norm', '.clip_value', 'dist_cfg.timeout')
_ANY_LARGE = ('max_norm', 'clip_value', 'norm_type')


def check_call(
    value: Mapping, where: str, target: Callable, given: tuple = (), extra: tuple = ()
) -> None:
    """Check keys, kinds and numbers of what a class or function will be given.

    ``given`` are keys that the caller adds, ``extra`` further ones of any kind.
    """
    check_keys(value, where, target, given, extra)
    check_kinds(value, where, target, extra)


def check_kinds(value: Mapping, where: str, target: Callable, extra: tuple = ()) -> None:
    """Refuse values of another kind than a class or function says, and numbers that are none."""
    parameters, name = signature_of(target).parameters, getattr(target, '__name__', str(target))
    loose = not getattr(target, '__module__', '').startswith(_EXACT)
    for key, item in value.items():
        check_numbers(item, f'{where}.{key}')
        if key in parameters and key not in extra and (name, key) not in _WRONG:
            wanted = kind_problem(item, parameters[key], loose)
            if wanted is not None:
                raise UserError(f'{where}.{key}={item!r} of {name} should be {wanted}')


def kind_problem(value: Any, parameter: inspect.Parameter, loose: bool = False) -> str | None:
    """What kind ``value`` should be of instead, or None if it may be right.

    Decided by the parameter's annotation, without one by its default. Objects pass.
    ``loose`` lets pass a list of what the annotation says, a fraction for an integer, and
    None for an initialisation.
    """
    default, annotation = parameter.default, parameter.annotation
    if value is None and (default is None or (loose and parameter.name == 'init_cfg')):
        return None
    if annotation is not parameter.empty:
        words = ' or '.join(dict.fromkeys(_words(annotation)))
        if fits(value, annotation, loose):
            return None
        if isinstance(value, list) and value and fits([*map(str, value)], annotation, loose):
            words = words.replace('a list', f'a list of strings such as {str(value[0])!r}', 1)
        return words
    like = next((like for kind, like in _LIKE.items() if isinstance(default, kind)), Any)
    return None if fits(value, like, loose) else f'like its default, {default!r}'


def _words(annotation: Any) -> Iterator[str]:
    """How a message calls what an annotation allows."""
    kind, inside = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if kind in (typing.Union, types.UnionType):
        for one in inside:
            yield from _words(one)
    elif kind is typing.Literal:
        yield from map(repr, inside)
    elif kind in (None, type(None)):
        yield 'None'
    else:
        plain = isinstance(kind, type) and kind.__module__ in _PLAIN
        names = (words for base, words in _WORDS.items() if plain and issubclass(kind, base))
        yield next(names, getattr(kind, '__name__', str(kind)))


def fits(value: Any, annotation: Any, loose: bool = False) -> bool:
    """Whether a value may stand where an annotation is, as for :func:`kind_problem`."""
    kind, inside = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    is_list = isinstance(value, _LISTS)
    if loose and is_list and value and all(fits(one, annotation, True) for one in value):
        return True
    if kind in (typing.Union, types.UnionType):
        return any(fits(value, one, loose) for one in inside)
    if kind is typing.Literal:
        return value in inside
    if kind is Callable:
        return not is_list and not isinstance(value, Number | None)
    if kind in (None, type(None)):
        return value is None
    if kind in (Any, object) or not isinstance(kind, type) or issubclass(kind, (Enum, type)):
        return True
    if value is None or isinstance(value, bool):
        return kind is type(value)
    if isinstance(value, Real):
        if kind is bool:
            return value in (0, 1)
        whole = isinstance(value, Integral) or (loose and math.isfinite(value))
        return issubclass(kind, Number) and (whole or not issubclass(kind, Integral))
    if isinstance(value, (str, os.PathLike)):
        return issubclass(kind, (str, os.PathLike))
    lists = kind.__module__ == 'collections.abc' and not issubclass(kind, Mapping)
    lists = lists or issubclass(kind, _LISTS)
    if is_list:
        items = [one for one in inside if one is not Ellipsis] or [Any]
        return lists and all(any(fits(v, one, loose) for one in items) for v in value)
    # Elsewhere a dict may stand for an instance of a class. Other objects pass.
    return not isinstance(value, Mapping) or not (lists or issubclass(kind, (str, Number)))


def check_numbers(value: Any, where: str) -> None:
    """Refuse numbers out of the range that the end of their path tells, here and in dicts inside.

    Infinite ones are right as limits of gradient norms only.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_numbers(item, f'{where}.{key}')
        return
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    for least, ends in _LEAST.items():
        if where.endswith(ends) and value is not None and not (whole and value >= least):
            raise should_be(where, value, f'an integer from {least} on')
    for most, ends in _MOST.items():
        if where.endswith(ends) and value is not None and value > most:
            raise should_be(where, value, f'at most {most}')
    if isinstance(value, Real) and where.endswith(_ABOVE_ZERO) and value <= 0:
        raise should_be(where, value, 'a number above 0')
    if isinstance(value, Real) and where.endswith(_TO_ONE) and value > 1:
        raise should_be(where, value, 'at most 1')
    for item in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(item, Real) and where.endswith(_FROM_ZERO) and item < 0:
            raise should_be(where, value, 'a number from 0 on')
        # A mean of 0 and a standard deviation of 1 leave pixels as they are.
        if isinstance(item, Real) and where.endswith('data_preprocessor.mean') and 0 < item < 1:
            raise should_be(where, value, f'of pixels from 0 to 255: {item * 255:.4g} for {item}')
        if isinstance(item, Real) and where.endswith('data_preprocessor.std') and item < 1:
            raise should_be(where, value, 'of pixels from 0 to 255, and not below 1')
        if isinstance(item, float) and not math.isfinite(item):
            if math.isnan(item) or not where.endswith(_ANY_LARGE):
                raise should_be(where, value, 'a finite number')
