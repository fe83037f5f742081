"""Finding the checkpoint that an interrupted training goes on from."""

import reprlib
from pathlib import Path
from typing import NamedTuple

from .checkpoint import latest_checkpoint, load_from_local
from .errors import UserError


class ResumePoint(NamedTuple):
    """What was found in a work dir.

    Attributes:
        path (Path | None): The checkpoint to resume; None if there is none.
        skipped (list[str]): What was passed over, each with the reason.
    """

    path: Path | None
    skipped: list[str]


def find_resume_point(work_dir: str | Path) -> ResumePoint:
    """The checkpoint that was saved last, or the newest other one that loads.

    The record ``last_checkpoint`` tells which was saved last. If that one is
    damaged or gone, the one of the most iterations among the other .pth files
    beside it is taken. Files without an optimizer's state, or whose epoch and
    iteration are no counts, cannot be resumed and are passed over.

    Raises:
        UserError: If checkpoints are there, but none of them loads.
    """
    recorded, skipped = _recorded(work_dir)
    if recorded is not None:
        problem = _problem(recorded)
        if problem is None:
            return ResumePoint(recorded, skipped)
        skipped.append(problem)
    folders = {Path(work_dir), *([recorded.parent] if recorded is not None else [])}
    found, damaged = [], recorded is not None or bool(skipped)
    for path in sorted(path for folder in folders for path in folder.glob('*.pth')):
        if path == recorded:
            continue
        content = _content(path)
        if isinstance(content, str):
            skipped.append(content)
            damaged = True
        elif not _has_state(content):
            skipped.append(_without_state(path))
        else:
            found.append((content['meta']['iter'], path))
    if found:
        return ResumePoint(max(found)[1], skipped)
    if damaged:
        raise UserError(
            f'--resume: no checkpoint in work_dir {str(work_dir)!r} can be resumed: '
            f'{"; ".join(skipped)}. Remove them to start from scratch, or give another'
        )
    return ResumePoint(None, skipped)


def _recorded(work_dir: str | Path) -> tuple[Path | None, list[str]]:
    try:
        return latest_checkpoint(work_dir), []
    except UserError as error:
        return None, [str(error).split(';')[0]]


def _problem(path: Path) -> str | None:
    """Why training cannot go on from a file."""
    content = _content(path)
    if isinstance(content, str):
        return content
    return None if _has_state(content) else _without_state(path)


def _content(path: Path) -> dict | str:
    """What a file holds, without its tensors' values; or why it cannot be read."""
    try:
        content = load_from_local(str(path), map_location='meta')
    except (UserError, OSError) as error:
        return str(error)
    for key in ('epoch', 'iter') if _has_state(content) else ():
        count = content['meta'].get(key)
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            return (
                f'checkpoint {str(path)!r} has meta.{key}={reprlib.repr(count)}, which is no count'
            )
    return content


def _has_state(content: dict) -> bool:
    meta = content.get('meta') if isinstance(content, dict) else None
    return isinstance(meta, dict) and 'iter' in meta and 'optimizer' in content


def _without_state(path: Path) -> str:
    return f'checkpoint {str(path)!r} holds weights, but no state of a training'
