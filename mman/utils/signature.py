"""What keys a class or function takes, and errors of those that it does not."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from torch import nn

from .errors import UserError, did_you_mean

# What an annotation may raise that names something missing: it then tells nothing of a value.
_UNREADABLE = (AttributeError, ImportError, NameError, SyntaxError, TypeError)

_KEYED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
# Known to registries, not to the classes in them.
TYPE_KEYS = ('type', '_scope_')


@dataclass
class Signature:
    """The keys of a constructor or function.

    ``required`` are those of the outermost constructor without a default; an ``open`` one
    takes further keys, whose names cannot be known.
    """

    parameters: dict[str, inspect.Parameter] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    open: bool = False


@cache
def signature_of(target: Callable) -> Signature:
    """What may be given to a class or function by name.

    A constructor that hands its ``**kwargs`` to the next class's constructor,
    and does nothing else with them, is followed along the method resolution
    order; any other ``**kwargs`` leave the signature open.
    """
    found, is_class = Signature(), inspect.isclass(target)
    for number, function in enumerate(_constructors(target) if is_class else [target]):
        parameters = _parameters(function)
        for parameter in parameters[int(is_class) :]:
            if parameter.kind in _KEYED:
                found.parameters.setdefault(parameter.name, parameter)
                if not number and parameter.default is parameter.empty:
                    found.required.add(parameter.name)
        kwargs = [p.name for p in parameters if p.kind is p.VAR_KEYWORD]
        if not kwargs:
            break
        if not is_class or not _only_passes_on(function, kwargs[0]):
            found.open = True
            break
    return found


def check_keys(
    value: Mapping,
    where: str,
    target: Callable,
    given: Iterable[str] = (),
    extra: Iterable[str] = TYPE_KEYS,
) -> None:
    """Hold the keys of a dict against what a class or function takes.

    Args:
        value (Mapping): The dict.
        where (str): Its path in the config, for messages.
        target (Callable): The class or function.
        given (Iterable[str]): Keys that the caller adds, and nobody else.
        extra (Iterable[str]): Further keys that are right.

    Raises:
        UserError: If a key is unknown, with the one that may be meant, or one is missing.
    """
    signature, name = signature_of(target), getattr(target, '__name__', str(target))
    known = [*(k for k in signature.parameters if k not in given), *extra]
    for key, item in value.items():
        if key not in known and (key in given or not signature.open):
            shown = ', '.join(k for k in known if k not in TYPE_KEYS)
            raise UserError(
                f'{where} has the unknown key {key!r} (value {item!r}): {name} knows '
                f'{shown or "no keys"}{did_you_mean(key, known)}'
            )
    missing = sorted(signature.required - {*value, *given})
    if missing:
        raise UserError(f'{where} lacks {", ".join(missing)}, which {name} needs')


def _constructors(cls: type) -> list[Callable]:
    """Constructors in order; those of object and nn.Module take nothing."""
    return [
        vars(base)['__init__']
        for base in cls.__mro__
        if '__init__' in vars(base) and base not in (object, nn.Module)
    ]


def _parameters(function: Callable) -> list[inspect.Parameter]:
    """Parameters, with annotations as objects where they can be evaluated."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        # Written in C, say.
        return [inspect.Parameter('unknown', inspect.Parameter.VAR_KEYWORD)]
    names = getattr(function, '__globals__', {})
    return [p.replace(annotation=_evaluated(p.annotation, names)) for p in parameters]


def _evaluated(annotation: Any, names: dict) -> Any:
    """An annotation in words as an object; nothing if it names what is missing."""
    try:
        return eval(annotation, dict(names)) if isinstance(annotation, str) else annotation
    except _UNREADABLE:
        return inspect.Parameter.empty


def _only_passes_on(function: Callable, kwargs: str) -> bool:
    """Whether ``**kwargs`` go to another ``__init__`` and nowhere else."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return False
    # The call may have other calls among its arguments.
    call = rf'\.__init__\((?:[^()]|\([^()]*\))*\*\*{kwargs}\b'
    return len(re.findall(rf'\b{kwargs}\b', source)) == 2 and re.search(call, source) is not None
