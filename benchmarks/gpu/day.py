"""The one setting of a folder: with what its first call began, all others go on."""

import json
from collections.abc import Mapping
from pathlib import Path

from mman.utils import UserError
from mman.utils.atomic_file import write_atomically

# A file may be touched that no result depends on; the commit is told, the sources are compared.
_NOT_COMPARED = ('date', 'commit', 'changed')


def begin_or_go_on(folder: Path, now: Mapping) -> dict:
    """What the folder was begun with, written there by its first call.

    Args:
        folder (Path): It exists.
        now (Mapping): Date, settings and machine of this call.

    Raises:
        UserError: If it is the folder of something else, or was begun with other values.
    """
    path = folder / 'day.json'
    if not path.is_file():
        if any(folder.iterdir()):
            raise UserError(f'FOLDER {str(folder)!r} is not empty, and no GPU day was begun in it')
        write_atomically(path, f'{json.dumps(now, indent=1)}\n'.encode())
    begun = json.loads(path.read_text())
    for key in now:
        if key not in _NOT_COMPARED and begun.get(key) != now[key]:
            raise UserError(
                f'FOLDER {str(folder)!r} was begun with {key}={begun.get(key)!r}, but now it would '
                f'be {now[key]!r}: results of both cannot share a page; give another folder'
            )
    return begun
