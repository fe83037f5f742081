"""Kill a short training at random moments, resume it, and compare how it ends.

    python -m tests.helpers.kill_test --runs 40 --out FOLDER [--phases]

Each run is ended once by SIGKILL: every other one at or just after a save, the
rest at any moment of its training or, one in eight, of its start. Then
``--resume`` is given until it ends by itself. FOLDER/kills.csv gets a line a
run: the moment, what the training was doing, which checkpoint it went on from,
and whether its last checkpoint is that of the uninterrupted training, bit for
bit. With ``--phases`` the training is of three phases, a block each.
"""

import argparse
import csv
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from mman.utils.checkpoint import load_from_local
from tests.helpers.interruption import differences, state_of
from tests.helpers.train_server import Training, TrainServer

CONFIG = 'tests/helpers/survival_config.py'
PHASES = 'tests/helpers/phases_config.py'
# Nine saves in eighteen iterations, some of them within an epoch; of each phase, if there are any.
OPTIONS = [
    'default_hooks.checkpoint.by_epoch=False',
    'default_hooks.checkpoint.interval=2',
]
LAST = {CONFIG: 'iter_18.pth', PHASES: 'phase2/iter_18.pth'}


@dataclass
class Kill:
    """One run, a line of kills.csv."""

    run: int
    workers: int
    aim: str
    seconds: float
    doing: str
    left: str
    resumed_from: str = ''
    starts: int = 0
    identical: bool = False


def kills(
    server: TrainServer, runs: int, seed: int, folder: Path, config: str = CONFIG
) -> Iterator[Kill]:
    """Train ``runs`` times with one kill each, and tell how it came out.

    Args:
        server (TrainServer): What starts the trainings.
        runs (int): How many.
        seed (int): Of the moments.
        folder (Path): For work dirs, each removed after its run.
        config (str): CONFIG or PHASES. Defaults to the former.
    """
    moments = random.Random(seed)
    whole = folder / 'whole'
    training = server.start(folder / 'whole.txt', *_arguments(config, whole, 0))
    starting, begin = _await_training(training), time.monotonic()
    assert training.wait() == 0, training.output
    lengths = starting, time.monotonic() - begin
    expected = state_of(load_from_local(whole / LAST[config]))
    run, attempts = 0, 0
    while run < runs:
        attempts += 1
        kill = _kill_once(server, config, run, moments, lengths, folder / f'attempt{attempts}')
        if kill is None:
            # It had ended before the moment came.
            continue
        work_dir = folder / f'attempt{attempts}'
        _resume(server, config, kill, work_dir)
        found = state_of(load_from_local(work_dir / LAST[config]))
        kill.identical = not differences(expected, found)
        shutil.rmtree(work_dir)
        yield kill
        run += 1


def _kill_once(
    server: TrainServer,
    config: str,
    run: int,
    moments: random.Random,
    lengths: tuple[float, float],
    work_dir: Path,
) -> Kill | None:
    """Start a training and kill it at a moment; None if that was too late."""
    workers = moments.choice([0, 2])
    training = server.start(work_dir.with_suffix('.txt'), *_arguments(config, work_dir, workers))
    begin = time.monotonic()
    if run % 2 == 0:
        aim = _await_save(moments, training, work_dir, 27 if config == PHASES else 9)
    elif run % 8 == 7:
        aim = 'its start'
        time.sleep(moments.uniform(0, lengths[0]))
    else:
        aim = 'its training'
        _await_training(training)
        time.sleep(moments.uniform(0, lengths[1]))
    _kill(training.pid)
    seconds = time.monotonic() - begin
    if training.wait() != -signal.SIGKILL:
        return None
    return Kill(run, workers, aim, seconds, _doing(training), _left(work_dir))


def _resume(server: TrainServer, config: str, kill: Kill, work_dir: Path) -> None:
    """Give ``--resume`` until the training ends by itself, three times at most."""
    for kill.starts in range(1, 4):
        log = work_dir.with_suffix(f'.{kill.starts}.txt')
        code, output = server.run(log, *_arguments(config, work_dir, kill.workers), '--resume')
        kill.resumed_from = kill.resumed_from or _resumed_from(output)
        if code == 0:
            return
    raise AssertionError(output)


def _arguments(config: str, work_dir: Path, workers: int) -> list:
    options = [*OPTIONS, f'train_dataloader.num_workers={workers}']
    return [config, '--seed', 3, '--work-dir', work_dir, '--cfg-options', *options]


def _await_training(training: Training) -> float:
    """Wait until a training has left its preparations behind; how long it took."""
    begin = time.monotonic()
    while _alive(training.pid) and 'Local blocks:' not in training.output:
        time.sleep(0.002)
    return time.monotonic() - begin


def _await_save(moments: random.Random, training: Training, work_dir: Path, saves: int) -> str:
    """Wait for one of the saves, and a little longer; which one."""
    number, delay = moments.randint(1, saves), moments.uniform(0, 0.02)
    seen, there = 0, False
    while seen < number and _alive(training.pid):
        now = any(work_dir.rglob('*.pth.*.mman-tmp'))
        seen, there = seen + (now and not there), now
        time.sleep(0.0002)
    time.sleep(delay)
    return f'save {number}'


def _alive(pid: int) -> bool:
    """Whether a process runs; one that has ended is still there until its parent waits."""
    return Path(f'/proc/{pid}/cmdline').exists() and bool(Path(f'/proc/{pid}/cmdline').read_bytes())


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _doing(training: Training) -> str:
    """What the last line of the log that tells is about."""
    for line in reversed(training.output.splitlines()):
        for sign, what in (
            ('Saving checkpoint', 'saving, or just after'),
            ('Epoch(val)', 'validation'),
            ('Epoch(train)', 'iteration'),
            ('log:  ', 'leaving'),
            ('Local blocks', 'start of training'),
            ('Hooks will be', 'building'),
        ):
            if sign in line:
                return what
    return 'starting'


def _left(work_dir: Path) -> str:
    """Files that a save in progress left behind."""
    return ' '.join(sorted(path.name for path in work_dir.rglob('*.mman-tmp'))) or '-'


def _resumed_from(output: str) -> str:
    found = re.findall(r'Load checkpoint from \S*?([^/\s]+\.pth)', output)
    return found[0] if found else 'nothing: anew'


def main() -> None:
    """Run it and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--runs', type=int, default=40, help='how many trainings [40]')
    parser.add_argument('--seed', type=int, default=0, help='of the moments [0]')
    parser.add_argument('--phases', action='store_true', help='of a training in phases')
    parser.add_argument('--out', type=Path, required=True, help='new or empty folder')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    table = args.out / 'kills.csv'
    if table.exists():
        parser.error(f'{str(table)!r} exists and is not overwritten')
    failed = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        TrainServer() as server,
        table.open('w', newline='') as file,
    ):
        writer = csv.DictWriter(file, [field.name for field in fields(Kill)])
        writer.writeheader()
        config = PHASES if args.phases else CONFIG
        for kill in kills(server, args.runs, args.seed, Path(folder), config):
            writer.writerow({**asdict(kill), 'seconds': f'{kill.seconds:.3f}'})
            file.flush()
            failed += not kill.identical
    print(f'{args.runs} trainings killed and resumed, {args.runs - failed} identical to the bit')
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
