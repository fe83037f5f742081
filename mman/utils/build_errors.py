"""One line of what goes wrong while a config is built, with the place in the config."""

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.registry import build_from_cfg
from mmengine.utils import is_installed

from .errors import UserError
from .signature import check_keys

_LONG = 500


@contextmanager
def named_errors(tree: Mapping, where: str) -> Iterator[None]:
    """Turn what a constructor raises into an error that names its config.

    A :class:`UserError` passes as it is. Of any other the message shows the
    innermost dict that was being built, with its path and its keys, and the
    line of code; the traceback is kept as the cause.

    Args:
        tree (Mapping): The config, or the part of it that is built inside.
        where (str): Path of ``tree`` in the config; '' for the whole config.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        path, part, call = _being_built(error, tree, where)
        if call is not None:
            # What does not fit a constructor says more than Python does.
            check_keys(call[1], path, call[0])
        if (lacking := _missing_package(error)) is not None:
            raise UserError(lacking) from error
        shown = path if part is tree and not where else f'{path}={short(part)}'
        raise UserError(f'{shown} cannot be used: {reason(error)}') from error


def _missing_package(error: BaseException) -> str | None:
    """Who needs which package that is not installed, if that is the cause."""
    if not isinstance(error, ImportError):
        return None
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    users = [type(f.f_locals['self']).__name__ for f in frames if 'self' in f.f_locals]
    while error.__context__ is not None:
        error = error.__context__
    package = (getattr(error, 'name', None) or '').split('.')[0]
    if not package or is_installed(package):
        return None
    return f'{users[-1] if users else "the config"} needs {package}: pip install {package}'


def reason(error: BaseException) -> str:
    """An exception in one line: kind, message and where it was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f'{Path(frame.filename).name}:{frame.lineno}'
    return f'{type(error).__name__}: {_cut(str(error), 300)} ({place})'


def short(value: Any) -> str:
    """A config in one line: in full if that is short, else without what is inside dicts in it."""
    text = _shown(value, depth=10)
    return text if len(text) <= _LONG else _shown(value, depth=1)


def _shown(value: Any, depth: int) -> str:
    if not isinstance(value, Mapping):
        return _cut(repr(value), 120)
    if not depth:
        return f'dict(type={value["type"]!r}, ...)' if 'type' in value else 'dict(...)'
    items = (f'{key}={_shown(item, depth - 1)}' for key, item in value.items())
    return f'dict({", ".join(items)})'


def _cut(text: str, most: int) -> str:
    text = ' '.join(text.split())
    return text if len(text) <= most else f'{text[:most]} ...'


def _being_built(error: Exception, tree: Mapping, where: str) -> tuple[str, Any, tuple | None]:
    """Path and config of the innermost thing that a registry was building.

    With its class and arguments if it is the call of the class that failed.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        if frame.f_code is not build_from_cfg.__code__:
            continue
        found = frame.f_locals
        path = _find(found['cfg'], tree, where)
        if path is not None:
            called = frame is frames[-1] and 'obj_cls' in found
            return path, found['cfg'], (found['obj_cls'], found['args']) if called else None
    return where or 'the config', tree, None


def _find(wanted: Mapping, value: Any, path: str) -> str | None:
    """Where a dict like ``wanted`` stands; constructors add and take keys."""
    if isinstance(value, Mapping):
        if _alike(wanted, value):
            return path
        items = [(f'{path}.{key}' if path else str(key), item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [(f'{path}[{number}]', item) for number, item in enumerate(value)]
    else:
        return None
    found = (_find(wanted, item, inner) for inner, item in items)
    return next((path for path in found if path is not None), None)


def _alike(wanted: Mapping, value: Mapping) -> bool:
    """Whether what a constructor was given comes from a dict of the config."""
    kind = value.get('type')
    if kind is not None and str(kind).split('.')[-1] != str(wanted.get('type')).split('.')[-1]:
        return False
    shared = {k: v for k, v in value.items() if k in wanted}
    # As text, in which a number that is none equals itself.
    return bool(shared) and all(
        repr(wanted[k]) == repr(v) for k, v in shared.items() if isinstance(v, (str, int, float))
    )
