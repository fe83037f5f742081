"""Finding and safely loading checkpoints."""

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import get_torch_safe_globals

from .atomic_file import require_whole
from .errors import UserError

#: What loads files that can run code: the option of commands, the argument of functions.
UNSAFE = '--unsafe-load (in Python: unsafe_load=True)'
_STATISTICS = ('min', 'max', 'mean', 'current')


def _statistics_method(owner: Any, name: str) -> Any:
    """The one use that mmengine's checkpoints have for ``getattr``."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise UnpicklingError(f'Unsupported attribute {name!r} of {owner!r}')
    return getattr(owner, name)


def safe_globals() -> list:
    """What mmengine's checkpoints hold besides tensors and containers.

    mmengine allows ``getattr`` itself, for the methods of its HistoryBuffer.
    But ``getattr.__self__`` is the module builtins, so a file can reach
    ``exec`` through it and have it called as a ``__setstate__``.
    """
    allowed = [item for item in get_torch_safe_globals() if item is not getattr]
    return [*allowed, (_statistics_method, 'builtins.getattr')]


def load_from_local(
    filename: str,
    map_location: Any = None,
    advice: str = f'If you trust where it comes from, load it with {UNSAFE}',
) -> Any:
    """mmengine's loader of local files, without its fall-back to plain unpickling.

    The name is mmengine's too: its log says "local" because of it. ``advice`` is what to
    do about a file that holds other objects.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If it is damaged, or holds other objects.
    """
    path = os.path.expanduser(filename)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'checkpoint {filename!r} is not a file')
    try:
        require_whole(path)
        with torch.serialization.safe_globals(safe_globals()):
            return torch.load(path, map_location=map_location, weights_only=True)
    except UnpicklingError as error:
        raise UserError(
            f'checkpoint {filename!r} was refused: it is damaged, or holds objects that could run '
            f'code when loaded ({_reason(error)}). {advice}'
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # Damaged pickles raise almost anything.
        raise UserError(
            f'checkpoint {filename!r} cannot be read ({_reason(error)}); it should be a complete '
            'file written by torch.save'
        ) from error


def _reason(error: Exception) -> str:
    """The telling part of torch's message, which comes wrapped in advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if 'Unsupported' in line or 'Trying to' in line]
    # Reasons end in advice on how to allow the object, which is not ours to give.
    return (telling or lines or [type(error).__name__])[0].split('. ')[0][:200]


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The checkpoint that mmengine saved last in ``work_dir``; None if nothing was saved.

    The file of that name inside ``work_dir`` is taken if the folder has moved since.

    Raises:
        UserError: If the file that was saved last is gone, or the record of it
            is damaged.
    """
    record = Path(work_dir) / 'last_checkpoint'
    if not record.is_file():
        return None
    advice = 'give the checkpoint to resume from, or remove that record to start from scratch'
    try:
        saved = Path(record.read_text().strip())
        for candidate in (saved, Path(work_dir) / saved.name):
            if candidate.is_file():
                return candidate
    # No text, no path, or a longer one than there can be.
    except (OSError, ValueError) as error:
        kind = getattr(error, 'strerror', None) or 'it is no text'
        raise UserError(f'{str(record)!r} names no checkpoint ({kind}); {advice}') from error
    raise UserError(f'{str(record)!r} names {str(saved)!r}, which does not exist; {advice}')
