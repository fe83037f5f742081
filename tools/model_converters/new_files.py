"""Writing files that appear whole, and never in place of another."""

import io
import os
from pathlib import Path
from typing import Any

import torch

from mman.utils.errors import UserError


def check_place(path: str) -> None:
    """Refuse a file that exists, or a folder that does not, before any work starts.

    Raises:
        UserError: Either way.
    """
    if Path(path).exists():
        raise UserError(f'{path!r} exists already and is not overwritten')
    if not Path(path).absolute().parent.is_dir():
        raise UserError(f'the folder of {path!r} does not exist')


def write_new(path: str, content: bytes) -> None:
    """Write a new file: all of it under a temporary name first.

    Raises:
        UserError: If ``path`` exists by now, or cannot be written; nothing of
            it is left then.
    """
    temporary = Path(f'{path}.{os.getpid()}.tmp')
    try:
        with temporary.open('xb') as file:
            file.write(content)
        # Unlike a rename, a link does not replace a file that came in between.
        os.link(temporary, path)
    except FileExistsError as error:
        raise UserError(f'{path!r} exists already and is not overwritten') from error
    except OSError as error:
        raise UserError(f'{path!r} could not be written: {error.strerror or error}') from error
    finally:
        temporary.unlink(missing_ok=True)


def torch_bytes(content: Any) -> bytes:
    """What ``torch.save`` makes of it, read back once as anyone would, without pickled code."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.seek(0)
    torch.load(buffer, weights_only=True)
    return buffer.getvalue()
