"""The runs of a comparison: their configs, processes and results in one folder."""

import copy
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mman.utils.errors import UserError

from .grid import Candidate

#: What a process trains a run with.
PROGRAM = ('-m', 'mman.analysis.comparison.run')
PAUSE = 0.2  # seconds between two looks at the processes


@dataclass(frozen=True)
class Run:
    """One training."""

    candidate: Candidate  #: What is trained.
    seed: int  #: ``randomness.seed``.
    folder: Path  #: Folder of the comparison.

    @property
    def name(self) -> str:
        """Also the name of its work dir."""
        return f'{self.candidate.name}_seed{self.seed}'

    @property
    def work_dir(self) -> Path:
        """Its logs and checkpoints."""
        return self.folder / self.name

    @property
    def config(self) -> Path:
        """Its config, as ``mman train`` takes it."""
        return self.folder / 'configs' / f'{self.name}.py'

    @property
    def result_file(self) -> Path:
        """There once it has ended."""
        return self.work_dir / 'result.json'

    @property
    def output(self) -> Path:
        """What its process printed, the last start below the others."""
        return self.work_dir / 'output.txt'

    def result(self) -> dict | None:
        """``top1`` in %, ``seconds`` and ``resumed``; None while it has not ended."""
        return json.loads(self.result_file.read_text()) if self.result_file.is_file() else None

    def cfg(self) -> Config:
        """The config of the candidate with the seed."""
        cfg = copy.deepcopy(self.candidate.cfg)
        cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': self.seed}
        return cfg


def make_runs(candidates: Sequence[Candidate], seeds: Sequence[int], folder: Path) -> list[Run]:
    """All runs of a comparison, all candidates of a seed before the next seed.

    Of the ways of backpropagation BP alone is trained: some give its weights, bit for bit, and of
    others it is the costs that are wanted.
    """
    trained = [one for one in candidates if one.trained_as == one.name]
    return [Run(one, seed, folder) for seed in seeds for one in trained]


def check_configs(runs: Sequence[Run]) -> None:
    """Refuse a folder with other runs of the same names, so that no table mixes recipes.

    Raises:
        UserError: If a config was written there before and differs; names the key.
    """
    for run in runs:
        if not run.config.is_file():
            continue
        old, new = (_flat(cfg.to_dict()) for cfg in (Config.fromfile(run.config), run.cfg()))
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                raise UserError(
                    f'{str(run.config)!r} has {key}={old.get(key)!r}, but now it would be '
                    f'{new.get(key)!r}: runs of two recipes cannot share a table; give another '
                    '--work-dir'
                )


def _flat(tree: Any, path: str = '') -> dict[str, Any]:
    """Leaves by their dotted keys; an empty container is a leaf."""
    items = enumerate(tree) if isinstance(tree, list | tuple) else ()
    items = tree.items() if isinstance(tree, Mapping) else items
    found = {}
    for name, value in items:
        found |= _flat(value, f'{path}.{name}' if path else str(name))
    return found or {path: tree}


def write_configs(runs: Sequence[Run]) -> None:
    """Write the configs that are not there yet."""
    for run in runs:
        if not run.config.is_file():
            run.config.parent.mkdir(parents=True, exist_ok=True)
            run.cfg().dump(run.config)


def train_all(runs: Sequence[Run], jobs: int) -> Iterator[tuple[Run, int]]:
    """Train what has not ended, ``jobs`` at once; the configs of the runs are written.

    Yields:
        tuple[Run, int]: A run that has ended, and the exit code of its process.
    """
    waiting = deque(run for run in runs if run.result() is None)
    running: list[tuple[Run, subprocess.Popen]] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                run = waiting.popleft()
                running.append((run, _start(run)))
            time.sleep(PAUSE)
            ended = [pair for pair in running if pair[1].poll() is not None]
            running = [pair for pair in running if pair not in ended]
            for run, process in ended:
                yield run, process.returncode
    finally:
        for _, process in running:
            process.terminate()


def _start(run: Run) -> subprocess.Popen:
    run.work_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *PROGRAM, *map(str, (run.config, run.work_dir, run.result_file))]
    with run.output.open('ab') as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
