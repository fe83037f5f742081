"""The folder of a GPU day: one file for each job that ended, one for each that failed."""

import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mman.utils.atomic_file import write_atomically

ROOT = Path(__file__).resolve().parents[2]
#: A job that failed so often is not started again.
ATTEMPTS = 2


class Results:
    """What jobs left in a folder.

    ``raw/NAME.json`` and ``failed/NAME.json`` belong to the record; ``work/``,
    with logs, configs and checkpoints, does not.

    Args:
        folder (Path): The folder, absolute.
        names (Mapping[str, str]): Other paths, and what to call them in the
            files: nothing in a record names a place of the machine.
    """

    def __init__(self, folder: Path, names: Mapping[str, str] | None = None):
        self.folder, self.work = folder, folder / 'work'
        known = {
            **(names or {}),
            str(folder): 'FOLDER',
            f'{ROOT}/': '',
            str(ROOT): '.',
            sys.prefix: 'ENV',
            tempfile.gettempdir(): 'TMP',
            os.path.expanduser('~'): 'HOME',
        }
        pairs = [(place, name) for place, name in known.items() if len(place) > 3]
        # A folder inside another one before it.
        self._names = sorted(pairs, key=lambda pair: -len(pair[0]))

    def clean(self, text: str) -> str:
        """A text without the places of this machine."""
        for place, name in self._names:
            text = text.replace(place, name)
        return text

    def result(self, job: str) -> dict | None:
        """``command``, ``seconds``, ``output`` and the failure before it, if there was one."""
        return _read(self.folder / 'raw' / f'{job}.json')

    def failure(self, job: str) -> dict | None:
        """``attempts``, and of the last one ``error``, ``log`` and whether the slice ``cut`` it.

        None if it did not fail.
        """
        return _read(self.folder / 'failed' / f'{job}.json')

    def gave_up(self, job: str) -> bool:
        """Whether it failed too often to be started again."""
        failure = self.failure(job)
        return failure is not None and failure['attempts'] >= ATTEMPTS

    def keep(self, job: str, command: str, seconds: float, output: dict) -> None:
        """Write down that a job ended well."""
        content = dict(command=command, seconds=round(seconds, 1), output=output)
        failure = self.failure(job)
        self._write('raw', job, {**content, **({'failure': failure} if failure else {})})
        (self.folder / 'failed' / f'{job}.json').unlink(missing_ok=True)

    def fail(self, job: str, command: str, error: str, log: str, cut: bool) -> None:
        """Write down that a job failed, once more if it did before."""
        # Not in what jobs wrote: a host may be called like a key.
        if host := platform.node():
            error, log = error.replace(host, 'HOST'), log.replace(host, 'HOST')
        attempts = 1 + (self.failure(job) or {'attempts': 0})['attempts']
        content = dict(command=command, attempts=attempts, error=error, cut=cut)
        content['log'] = log.splitlines()[-30:]
        self._write('failed', job, content)

    def _write(self, kind: str, job: str, content: dict) -> None:
        path = self.folder / kind / f'{job}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, f'{self.clean(json.dumps(content))}\n'.encode())


def _read(path: Path) -> dict | None:
    return json.loads(path.read_text()) if path.is_file() else None
