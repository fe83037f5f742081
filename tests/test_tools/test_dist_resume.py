"""Two ranks that are killed or asked to stop, and resumed, end as two that ran through."""

import signal
import subprocess
import time

import pytest

from mman.utils.checkpoint import load_from_local
from tests.helpers.interruption import differences, state_of
from tests.helpers.launch import environment
from tests.helpers.run_tool import ROOT

pytestmark = [pytest.mark.dist, pytest.mark.slow]
EPOCH, ITER = 'tests/helpers/survival_config.py', 'tests/helpers/survival_iter_config.py'
# 88 images, 44 a rank: three iterations an epoch, or 18 iterations over a sampler without an end.
LAST = {EPOCH: 'epoch_3.pth', ITER: 'iter_18.pth'}


def _command(work_dir, *options, resume=False, config=EPOCH):
    arguments = [config, 2, '--work-dir', work_dir, '--seed', 3, *['--resume'] * resume]
    return [ROOT / 'tools' / 'dist_train.sh', *map(str, arguments), '--cfg-options', *options]


def _train(work_dir, *options, **kwargs):
    return subprocess.run(
        _command(work_dir, *options, **kwargs),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """State at the end of the uninterrupted training with a config."""
    states = {}

    def get(config):
        if config not in states:
            work_dir = tmp_path_factory.mktemp('whole')
            result = _train(work_dir, 'train_dataloader.num_workers=0', config=config)
            assert result.returncode == 0, result.stderr
            states[config] = state_of(load_from_local(work_dir / LAST[config]))
        return states[config]

    return get


def _assert_resumes_to(whole, work_dir, resumed, config=EPOCH):
    result = _train(work_dir, 'train_dataloader.num_workers=2', resume=True, config=config)
    assert result.returncode == 0, result.stderr
    assert resumed in result.stdout + result.stderr
    found = state_of(load_from_local(work_dir / LAST[config]))
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
    _assert_resumes_to(whole(EPOCH), tmp_path, 'resumed epoch: 1, iter: 5')


def test_a_killed_rank(whole, tmp_path):
    options = [f'custom_hooks.2.{o}' for o in ('at=5', 'rank=1')]
    result = _train(tmp_path, *options)
    assert result.returncode != 0
    _assert_resumes_to(whole(EPOCH), tmp_path, 'resumed epoch: 1, iter: 3')


@pytest.mark.parametrize(('name', 'start'), [('SIGKILL', 4), ('SIGTERM', 7)])
def test_by_iteration(whole, tmp_path, name, start):
    """Killed behind the checkpoint of iteration 4, or stopped at once."""
    options = [f'custom_hooks.2.{o}' for o in ('at=7', f'name={name}', 'rank=1')]
    result = _train(tmp_path, *options, config=ITER)
    assert result.returncode != 0
    _assert_resumes_to(whole(ITER), tmp_path, f'iter: {start}', ITER)


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGUSR1'])
def test_a_signal_to_the_launcher_stops_all(tmp_path, name):
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
        process.send_signal(getattr(signal, name))
    process.wait(timeout=60)
    text = (tmp_path / 'output.txt').read_text()
    assert f'stopped by {name}; go on with --resume' in text, text
    saved = load_from_local(tmp_path / 'preempted.pth')
    # Two epochs at least: the signal may come while the second one's checkpoint is written.
    assert saved['meta']['iter'] >= 6 and len(saved['resume']['ranks']) == 2
