"""CPU seconds of starting: two checkouts in turns, each start a new process.

usage: python start_up.py ROUNDS BEFORE AFTER    (folders of the checkouts)
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

# The first iteration of a training is over: what it took, and no more.
FIRST = """
import os, sys
from mmengine.hooks import IterTimerHook
IterTimerHook.after_train_iter = lambda *args, **kwargs: os._exit(0)
"""


def seconds(command: list[str], tree: Path, folder: Path) -> float:
    """CPU seconds, user and system, of a process and its children."""
    path = os.pathsep.join([str(tree), str(folder)])
    environment = {**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(getattr(after, key) - getattr(before, key) for key in ('ru_utime', 'ru_stime'))


def commands(tree: Path, folder: Path) -> dict[str, list[str]]:
    """What is started."""
    config = folder / f'{tree.name}.py'
    base = tree / 'configs' / 'man' / 'resnet20_k10_digits.py'
    config.write_text(f'_base_ = {str(base)!r}\ncustom_imports = dict(imports=["first"])\n')
    train = [sys.executable, str(tree / 'tools' / 'train.py')]
    return {
        'python': [sys.executable, '-c', ''],
        'import mman': [sys.executable, '-c', 'import mman'],
        'train.py --help': [*train, '--help'],
        'first iteration': [*train, str(config), '--work-dir', str(folder / tree.name)],
    }


def main() -> None:
    """Print all times as JSON, and the medians."""
    rounds, *trees = sys.argv[1:]
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / 'first.py').write_text(FIRST)
        for round_ in range(int(rounds) + 1):
            for tree in map(Path, trees):
                for what, command in commands(tree.resolve(), folder).items():
                    took = round(seconds(command, tree.resolve(), folder), 3)
                    # The first round writes bytecode.
                    if round_:
                        found.setdefault(what, {}).setdefault(tree.name, []).append(took)
    print(json.dumps(found, indent=1))
    for what, by_tree in found.items():
        print(what, {tree: round(median(times), 2) for tree, times in by_tree.items()})


if __name__ == '__main__':
    main()
