"""Finding the checkpoint that an interrupted training goes on from."""

import reprlib
from pathlib import Path
from typing import NamedTuple

from .checkpoint import latest_checkpoint, load_from_local
from .errors import UserError


class ResumePoint(NamedTuple):
    """The checkpoint to resume, if there is one, and what was passed over, with the reasons."""

    path: Path | None
    skipped: list[str]


def find_resume_point(work_dir: str | Path) -> ResumePoint:
    """The checkpoint that was saved last, or the newest other one that loads.

    The record ``last_checkpoint`` tells which was saved last. If that one is
    damaged or gone, the one of the most iterations among the other .pth files
    beside it is taken. What cannot be resumed is passed over, and why is told.

    Raises:
        UserError: If checkpoints are there, but none of them loads.
    """
    skipped, found = [], []
    try:
        recorded = latest_checkpoint(work_dir)
    except UserError as error:
        recorded, skipped = None, [str(error).split(';')[0]]
    damaged = recorded is not None or bool(skipped)
    folders = {Path(work_dir), *([recorded.parent] if recorded is not None else [])}
    others = sorted(path for folder in folders for path in folder.glob('*.pth'))
    for path in dict.fromkeys([*([recorded] if recorded is not None else []), *others]):
        try:
            iteration = _iterations(path)
        except (UserError, OSError) as error:
            skipped.append(str(error))
            damaged = damaged or not isinstance(error, _WeightsAlone)
        else:
            if path == recorded:
                return ResumePoint(recorded, skipped)
            found.append((iteration, path))
    if found:
        return ResumePoint(max(found)[1], skipped)
    if damaged:
        raise UserError(
            f'--resume: no checkpoint in work_dir {str(work_dir)!r} can be resumed: '
            f'{"; ".join(skipped)}. Remove them to start from scratch, or give another'
        )
    return ResumePoint(None, skipped)


class _WeightsAlone(UserError):
    """A file is whole, but nothing to resume."""


def _iterations(path: Path) -> int:
    """After how many iterations a training goes on from a file, if it can be read and resumed."""
    content = load_from_local(str(path), map_location='meta')
    meta = content.get('meta') if isinstance(content, dict) else None
    if not isinstance(meta, dict) or 'iter' not in meta or 'optimizer' not in content:
        raise _WeightsAlone(f'checkpoint {str(path)!r} holds weights, but no state of a training')
    for key in ('epoch', 'iter'):
        count = meta.get(key)
        if type(count) is not int or count < 0:
            raise UserError(
                f'checkpoint {str(path)!r} has meta.{key}={reprlib.repr(count)}, which is no count'
            )
    return meta['iter']
