"""Records that training wrote into a run's folder, its starts joined."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from mman.utils.errors import UserError


def read_starts(run: str, file: str) -> list[list[dict]]:
    """The records of every start of a run, in order, each of a file with one JSON object a line.

    ``run`` is the work dir, with a folder for every start, named by its time; or one of these.

    Raises:
        UserError: If the folder is missing, has no such file, or one is damaged.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise UserError(f'run {run!r} should be an existing folder, a work dir of mman train')
    # Their names are times, so that their order is that of the starts.
    paths = [folder / file] if (folder / file).is_file() else sorted(folder.glob(f'*/{file}'))
    if not paths:
        raise UserError(f'run {run!r} has no {file}, nor has any folder in it')
    return [_read(path) for path in paths]


def _read(path: Path) -> list[dict]:
    """One JSON object a line; a last line that was cut off is left out."""
    *lines, rest = path.read_text().split('\n')
    records = []
    for number, line in enumerate([*lines, rest] if rest else lines, start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number > len(lines):
                break
            raise UserError(f'line {number} of {str(path)!r} is not JSON: {error}') from error
    return records


def join(starts: Iterable[Sequence[dict]], key: str) -> list[dict]:
    """The records of several starts as one run's, ``key`` going up.

    ``key`` is their place in training, such as 'iter'. A start that was resumed repeats what came
    after its checkpoint: its records replace those of earlier starts from its own first one on.
    """
    joined: list[dict] = []
    for records in filter(None, starts):
        joined = [one for one in joined if one[key] < records[0][key]] + list(records)
    return joined
