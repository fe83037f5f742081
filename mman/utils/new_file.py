"""Writing files that replace no other."""

from pathlib import Path

from .atomic_file import write_atomically
from .errors import UserError


def check_new_file(path: str, *suffixes: str) -> None:
    """Refuse a wrong suffix, a file that exists or a folder that does not, before any work."""
    if Path(path).suffix not in suffixes:
        raise UserError(f'{path!r} should end with {" or ".join(suffixes)}')
    if Path(path).exists():
        raise UserError(f'{path!r} exists already and is not overwritten')
    if not Path(path).absolute().parent.is_dir():
        raise UserError(f'the folder of {path!r} does not exist')


def write_new(path: str, content: bytes) -> None:
    """Write a new file, all of it or nothing; refused if ``path`` exists by now."""
    check_new_file(path, Path(path).suffix)
    write_atomically(path, content)
