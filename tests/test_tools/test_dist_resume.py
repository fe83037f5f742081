"""Two ranks that are killed or asked to stop, and resumed, end as two that ran through."""

import subprocess
import time

import pytest

from mman.utils.checkpoint import load_from_local
from tests.helpers.interruption import differences, state_of
from tests.helpers.launch import environment
from tests.helpers.run_tool import ROOT

pytestmark = [pytest.mark.dist, pytest.mark.slow]
CONFIG = 'tests/helpers/survival_config.py'


def _command(work_dir, *options, resume=False):
    arguments = [CONFIG, 2, '--work-dir', work_dir, '--seed', 3, *['--resume'] * resume]
    return [ROOT / 'tools' / 'dist_train.sh', *map(str, arguments), '--cfg-options', *options]


def _train(work_dir, *options, resume=False):
    return subprocess.run(
        _command(work_dir, *options, resume=resume),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The uninterrupted one: 88 images, 44 a rank, three iterations an epoch."""
    work_dir = tmp_path_factory.mktemp('whole')
    result = _train(work_dir, 'train_dataloader.num_workers=0')
    assert result.returncode == 0, result.stderr
    return state_of(load_from_local(work_dir / 'epoch_3.pth'))


def _assert_resumes_to(whole, work_dir, resumed, *options):
    result = _train(work_dir, 'train_dataloader.num_workers=2', *options, resume=True)
    assert result.returncode == 0, result.stderr
    assert f'resumed epoch: {resumed}' in result.stdout + result.stderr
    found = state_of(load_from_local(work_dir / 'epoch_3.pth'))
    different = [path for path in differences(whole, found) if 'keep_ckpt_ids' not in path]
    assert not different, different


def test_a_signal_to_one_rank_stops_both(whole, tmp_path):
    """Within an epoch, where the ranks differ in their running statistics."""
    options = [f'custom_hooks.2.{o}' for o in ('at=5', 'name=SIGTERM', 'rank=1')]
    result = _train(tmp_path, *options)
    assert result.returncode != 0
    assert 'stopped by another rank' in result.stdout + result.stderr
    assert 'exitcode: 75' in result.stderr or 'exitcode  : 75' in result.stderr
    saved = load_from_local(tmp_path / 'preempted.pth')
    first, second = (rank['buffers'] for rank in saved['resume']['ranks'])
    assert differences(first, second)
    _assert_resumes_to(whole, tmp_path, '1, iter: 5')


def test_a_killed_rank(whole, tmp_path):
    options = [f'custom_hooks.2.{o}' for o in ('at=5', 'rank=1')]
    result = _train(tmp_path, *options)
    assert result.returncode != 0
    _assert_resumes_to(whole, tmp_path, '1, iter: 3')


def test_a_signal_to_the_launcher_stops_all(tmp_path):
    """It passes the signal on, to worker processes as well."""
    options = ['train_cfg.max_epochs=500', 'train_dataloader.num_workers=1']
    log = (tmp_path / 'output.txt').open('w')
    process = subprocess.Popen(
        _command(tmp_path, *options), cwd=ROOT, env=environment(), stdout=log, stderr=log
    )
    try:
        for _ in range(1200):
            if (tmp_path / 'epoch_2.pth').exists() or process.poll() is not None:
                break
            time.sleep(0.1)
    finally:
        process.terminate()
    process.wait(timeout=60)
    text = (tmp_path / 'output.txt').read_text()
    assert 'stopped by SIGTERM; go on with --resume' in text, text
    saved = load_from_local(tmp_path / 'preempted.pth')
    assert saved['meta']['iter'] > 6 and len(saved['resume']['ranks']) == 2
