"""A small training that the launch scripts start, and how a test starts it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.helpers.run_tool import ROOT

DIGITS = 'configs/man/resnet20_k10_digits.py'
# 97 test pictures fit neither 2 nor 3 processes.
OPTIONS = [
    '--cfg-options',
    'model.splitter.num_blocks=4',
    'model.splitter.strategy=uniform',
    'model.splitter.stem=fused',
    'train_dataloader.dataset.indices=96',
    'train_dataloader.batch_size=16',
    'val_dataloader.dataset.indices=97',
    'test_dataloader.dataset.indices=97',
]


def environment(**extra: str) -> dict[str, str]:
    """The environment of a script, on the CPU, one thread a process."""
    return {
        **os.environ,
        'CUDA_VISIBLE_DEVICES': '',
        'PYTHONPATH': str(ROOT),
        'PYTHON': sys.executable,
        'OMP_NUM_THREADS': '1',
        **extra,
    }


def children(pid: int) -> list[int]:
    """Process ids of the processes that a process has started."""
    return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def signal_launcher(work_dir, config, ranks, name, *options):
    """What tools/dist_train.sh printed, sent a signal once a training has saved two epochs."""
    log = work_dir / 'output.txt'
    arguments = [config, ranks, '--work-dir', work_dir, '--cfg-options', *options]
    command = [ROOT / 'tools' / 'dist_train.sh', *map(str, arguments)]
    with log.open('w') as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=out, stderr=out)
        try:
            for _ in range(1200):
                if (work_dir / 'epoch_2.pth').exists() or process.poll() is not None:
                    break
                time.sleep(0.1)
        finally:
            process.send_signal(getattr(signal, name))
        process.wait(timeout=60)
    return log.read_text()
