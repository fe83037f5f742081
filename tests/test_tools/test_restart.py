"""MAX_RESTARTS of the launch script: all processes start again after one has died."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mman.utils.checkpoint import load_from_local
from tests.helpers.launch import DIGITS, OPTIONS, children, environment
from tests.helpers.run_tool import ROOT

pytestmark = [pytest.mark.dist, pytest.mark.full]

EPOCHS = 4
RANKS = 2
RESTART_OPTIONS = [
    *OPTIONS,
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.max_keep_ckpts=-1',
    f'train_cfg.max_epochs={EPOCHS}',
    f'param_scheduler.end={EPOCHS}',
]


# Whatever the dead processes left in the launcher's store must not be taken for the new ones'.
LATE = """
import os, time
if os.environ.get('RANK') == '0' and os.environ.get('TORCHELASTIC_RESTART_COUNT') == '1':
    time.sleep(4)
"""


def _start(work_dir, log, startup):
    """The training as a user starts it, its output going to one file.

    Every process of it imports ``sitecustomize`` from the folder ``startup``.
    """
    command = [
        'tools/dist_train.sh',
        DIGITS,
        RANKS,
        '--work-dir',
        work_dir,
        '--resume',
        '--seed',
        1,
    ]
    env = environment(MAX_RESTARTS='1', PYTHONPATH=f'{startup}:{ROOT}')
    return subprocess.Popen(
        [*map(str, command), *RESTART_OPTIONS], cwd=ROOT, env=env, stdout=log, stderr=log
    )


def _wait_until(reached, process):
    """Wait until something has happened, or the process has ended."""
    for _ in range(1200):
        if reached() or process.poll() is not None:
            break
        time.sleep(0.1)
    assert reached()


@pytest.mark.skipif(not Path('/proc/self/task').exists(), reason='needs /proc')
def test_all_ranks_start_again_from_the_last_checkpoint(tmp_path):
    output, work_dir = tmp_path / 'output.txt', tmp_path / 'work dir'
    last = work_dir / 'last_checkpoint'
    (tmp_path / 'sitecustomize.py').write_text(LATE)
    with output.open('w') as log:
        process = _start(work_dir, log, tmp_path)
        try:
            # From then on an iteration of a later epoch is under way.
            _wait_until(lambda: last.exists() and last.read_text().endswith('epoch_2.pth'), process)
            os.kill(children(process.pid)[-1], signal.SIGKILL)
            process.wait(timeout=120)
        finally:
            process.terminate()
    text = output.read_text()
    assert process.returncode == 0, text
    # The launcher names whichever death it sees first: the killed one, or one that lost its peer.
    assert re.search(r'failed \(exitcode: -?\d+\)', text), text
    # One process writes the log: it has started twice, and trained no finished epoch again.
    assert text.count('training starts anew') == 1, text
    (resumed,) = map(int, re.findall(r'resumed epoch: (\d+)', text))
    assert resumed >= 2
    for epoch in (1, 2, EPOCHS):
        assert text.count(f'Epoch(train) [{epoch}][3/3]') == 1
    # 96 pictures, 16 per process: 3 iterations an epoch.
    state = load_from_local(work_dir / f'epoch_{EPOCHS}.pth')
    assert state['meta']['iter'] == 3 * EPOCHS
