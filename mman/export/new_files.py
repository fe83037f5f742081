"""Writing files that appear whole, and never in place of another."""

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mman.utils.errors import UserError


@dataclass(frozen=True)
class Exported:
    """A file that was written; as a string, what the tools print of it.

    Args:
        path (str): The file.
        facts (dict[str, str]): What it holds, by a short name.
        difference (float | None): Largest difference of its class scores from
            the classifier's, as a part of the largest score. Defaults to None,
            not computed since the weights are the same.
        images (int): Number of images that it was computed on. Defaults to 0.
    """

    path: str
    facts: dict[str, str] = field(default_factory=dict)
    difference: float | None = None
    images: int = 0

    def __str__(self) -> str:
        lines = dict(self.facts)
        if self.difference is not None:
            lines['difference'] = (
                f'{self.difference:.1e} of the largest score, on {self.images} images'
            )
        lines['written'] = self.path
        return '\n'.join(f'{name + ":":<11} {text}' for name, text in lines.items())


def check_new_file(path: str, suffix: str) -> None:
    """Refuse a wrong suffix, a file that exists or a folder that does not, before any work.

    Raises:
        UserError: In each case.
    """
    if Path(path).suffix != suffix:
        raise UserError(f'out {path!r} should end with {suffix}')
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
