"""The configs of the package by name, such as 'man/resnet20_k10_digits'."""

import difflib
import fnmatch
from pathlib import Path

import mman

from .errors import UserError

#: In the repository a link to its folder ``configs``; an installed package holds the files.
CONFIGS = Path(mman.__file__).parent / '.mim' / 'configs'
_SUFFIXES = ('.py', '.yml', '.yaml', '.json')


def list_models(pattern: str | None = None) -> list[str]:
    """Names of the configs in the folder ``configs``, such as 'man/resnet20_k10_digits'.

    They start with ``pattern``; ``*`` stands for any characters, as in 'manpp/*imagenet'.
    """
    paths = (path.relative_to(CONFIGS) for path in CONFIGS.rglob('*.py'))
    names = [path.with_suffix('').as_posix() for path in paths if '_base_' not in path.parts]
    return sorted(fnmatch.filter(names, f'{pattern or ""}*'))


def config_path(config: str) -> str:
    """The path of a config file, given by its path or by its name, with or without ``mman::``.

    Raises:
        UserError: If there is none.
    """
    if Path(config).is_file() and Path(config).suffix in _SUFFIXES:
        return config
    name = str(config).removeprefix('mman::').removesuffix('.py')
    known = list_models()
    if name in known:
        return str(CONFIGS / f'{name}.py')
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f'; did you mean {" or ".join(close)}?' if close else ''
    raise UserError(
        f'config {config!r} should be an existing {", ".join(_SUFFIXES)} file, or a name that '
        f'`mman list` prints{hint}'
    )
