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

EPOCHS, RANKS = 60, 2
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
def test_all_ranks_start_again_from_the_last_checkpoint_and_then_end(tmp_path):
    """One rank is killed twice, and one restart is allowed."""
    output, work_dir = tmp_path / 'output.txt', tmp_path / 'work dir'

    def epoch():
        """The last that is saved: an iteration of a later one is under way."""
        last = work_dir / 'last_checkpoint'
        found = re.search(r'epoch_(\d+)\.pth$', last.read_text()) if last.exists() else None
        return int(found[1]) if found else 0

    def resumed():
        return [int(number) for number in re.findall(r'resumed epoch: (\d+)', output.read_text())]

    (tmp_path / 'sitecustomize.py').write_text(LATE)
    with output.open('w') as log:
        process = _start(work_dir, log, tmp_path)
        try:
            _wait_until(lambda: epoch() >= 2, process)
            os.kill(children(process.pid)[-1], signal.SIGKILL)
            _wait_until(lambda: resumed() and epoch() > resumed()[0], process)
            os.kill(children(process.pid)[-1], signal.SIGKILL)
            process.wait(timeout=120)
        finally:
            process.terminate()
    text = output.read_text()
    assert process.returncode not in (0, None)
    # The launcher names whichever death it sees first: the killed one, or one that lost its peer.
    assert re.search(r'failed \(exitcode: -?\d+\)', text), text
    # One process writes the log: it has started twice, and trained no finished epoch again.
    assert text.count('training starts anew') == 1, text
    (first,) = resumed()
    assert first >= 2
    for number in (1, first, first + 1):
        assert len(re.findall(rf'Epoch\(train\) +\[{number}\]\[3/3\]', text)) == 1
    # 96 pictures, 16 per process: 3 iterations an epoch.
    state = load_from_local(work_dir / f'epoch_{epoch()}.pth')
    assert state['meta']['iter'] == 3 * epoch()
