"""What keys a class or function takes, and of what types."""

import ast
import inspect
import textwrap
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from torch import nn

# What an annotation may raise that names something missing: it then tells nothing of a value.
_UNREADABLE = (AttributeError, ImportError, NameError, SyntaxError, TypeError)
_KEYED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass
class Signature:
    """The keys of a constructor or function.

    Attributes:
        parameters (dict[str, inspect.Parameter]): By name, in order, with
            annotations as objects where they could be evaluated.
        required (set[str]): Those of the outermost constructor without a default.
        open (bool): Whether it takes further keys, whose names cannot be known.
    """

    parameters: dict[str, inspect.Parameter] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    open: bool = False


@cache
def signature_of(target: Callable) -> Signature:
    """What may be given to ``target`` by name.

    A constructor that hands its ``**kwargs`` to the next class's constructor,
    and does nothing else with them, is followed along the method resolution
    order; any other ``**kwargs`` leave the signature open.

    Args:
        target (Callable): A class, or a function.
    """
    found = Signature()
    steps = _constructors(target) if inspect.isclass(target) else [target]
    for number, function in enumerate(steps):
        kwargs = _add(found, function, is_method=inspect.isclass(target), outermost=not number)
        if kwargs is None:
            return found
        if not inspect.isclass(target) or not _only_passes_on(function, kwargs):
            found.open = True
            return found
    return found


def _constructors(cls: type) -> list[Callable]:
    """Constructors in order; those of object and nn.Module take nothing."""
    return [
        vars(base)['__init__']
        for base in cls.__mro__
        if '__init__' in vars(base) and base not in (object, nn.Module)
    ]


def _add(found: Signature, function: Callable, is_method: bool, outermost: bool) -> str | None:
    """Add the parameters of one function; the name of its ``**kwargs``, if it has any."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[int(is_method) :]
    except (TypeError, ValueError):
        # Written in C, say.
        found.open = True
        return None
    hints = _hints(function)
    kwargs = None
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            kwargs = parameter.name
        elif parameter.kind in _KEYED:
            hint = hints.get(parameter.name, parameter.annotation)
            found.parameters.setdefault(parameter.name, parameter.replace(annotation=hint))
            if outermost and parameter.default is parameter.empty:
                found.required.add(parameter.name)
    return kwargs


def _hints(function: Callable) -> dict:
    """Annotations as objects; nothing for those that name what cannot be imported."""
    try:
        return typing.get_type_hints(function)
    except _UNREADABLE:
        return {
            name: _evaluated(text, getattr(function, '__globals__', {}))
            for name, text in inspect.get_annotations(function).items()
        }


def _evaluated(annotation: typing.Any, names: dict) -> typing.Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, dict(names))
    except _UNREADABLE:
        return inspect.Parameter.empty


def _only_passes_on(function: Callable, kwargs: str) -> bool:
    """Whether ``**kwargs`` go to another ``__init__`` and nowhere else."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return False
    uses = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == kwargs]
    passed = [
        keyword.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, 'attr', None) == '__init__'
        for keyword in call.keywords
        if keyword.arg is None
    ]
    return bool(passed) and all(use in passed for use in uses)
