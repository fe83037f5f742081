"""Restricting how mmengine loads checkpoints and YAML."""

import os
from typing import Any

import yaml
from mmengine.fileio import register_handler
from mmengine.fileio.handlers import YamlHandler
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from yaml.constructor import FullConstructor

from .checkpoint import UNSAFE, load_from_local, safe_globals
from .errors import UserError
from .remote_checkpoint import load_from_http

_FORCE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
_FORBID = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
_TRUE = ('1', 'y', 'yes', 'true')
# Whether files are trusted, as the last call said that said anything.
_trusted = False
# What was there before it was restricted: mmengine's functions, the variable.
_before: tuple | None = None


class _SafeLoader(yaml.SafeLoader):
    """YAML's own types, and tuples, which mmengine writes."""


_SafeLoader.add_constructor(
    'tag:yaml.org,2002:python/tuple', FullConstructor.construct_python_tuple
)


@register_handler(['yaml', 'yml'])
class SafeYamlHandler(YamlHandler):
    """mmengine's reader of configs and annotations in YAML, whose tags cannot call anything."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """Read a file; yaml raises a ConstructorError if it has a tag of another type."""
        return super().load_from_fileobj(file, **{**kwargs, 'Loader': _SafeLoader})


@CheckpointLoader.register_scheme(prefixes=('file://', 'local://'))
def _load_from_path(filename: str, map_location: Any = None) -> Any:
    return CheckpointLoader.load_checkpoint(filename.partition('://')[2], map_location)


def weights_only_is_forced() -> bool:
    """Whether :func:`restrict_loading` is in force."""
    return _is_set(_FORCE)


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, '0').lower() in _TRUE


def restrict_loading(unsafe: bool | None = None) -> None:
    """Let no checkpoint run code while it is loaded, in this process and its children.

    mmengine loads with ``weights_only=True``, allows too much in that, and
    loads a file that is refused a second time without it. Its list of what is
    allowed is replaced, and the environment variable makes the second load as
    strict as the first. Local files get a loader that says what to do instead,
    downloads one that compares their SHA-256.

    Args:
        unsafe (bool | None): Whether to keep, or return to, mmengine's behaviour. Defaults
            to None: what the last call said in this process, False if none has.

    Raises:
        UserError: If the environment demands the opposite of ``unsafe``.
    """
    global _trusted, _before
    if unsafe is None:
        unsafe = _trusted
    if unsafe:
        # What the user set, not what was set here.
        forced = os.environ.get(_FORCE, '0') if _before is None else _before[-1]
        if forced.lower() in _TRUE:
            raise UserError(f'{UNSAFE} contradicts {_FORCE}={forced}: drop one')
        _lift()
    elif _is_set(_FORBID):
        raise UserError(
            f'{_FORBID}={os.environ[_FORBID]} asks for unsafe loading: unset it, or say so with '
            f'{UNSAFE}'
        )
    else:
        _before = _before or (
            mmengine_checkpoint.get_torch_safe_globals,
            mmengine_checkpoint.load_from_http,
            CheckpointLoader._schemes.copy(),
            os.environ.get(_FORCE, '0'),
        )
        os.environ[_FORCE] = '1'
        mmengine_checkpoint.get_torch_safe_globals = safe_globals
        # By which its loaders of named models download.
        mmengine_checkpoint.load_from_http = load_from_http
        CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
        CheckpointLoader.register_scheme(('http://', 'https://'), load_from_http, force=True)
    _trusted = unsafe


def _lift() -> None:
    """Return to what was there before, if it was restricted here."""
    global _before
    if _before is not None:
        (
            mmengine_checkpoint.get_torch_safe_globals,
            mmengine_checkpoint.load_from_http,
            schemes,
            os.environ[_FORCE],
        ) = _before
        CheckpointLoader._schemes.update(schemes)
        _before = None
