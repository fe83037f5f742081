"""Two ranks that are killed or asked to stop, and resumed, end as two that ran through."""

import pytest

from mman.utils.checkpoint import load_from_local
from mman.utils.preempted import EXIT_CODE
from tests.helpers.interruption import differences, state_of
from tests.helpers.launch import signal_launcher

pytestmark = [pytest.mark.dist, pytest.mark.full]
EPOCH, ITER = 'tests/helpers/survival_config.py', 'tests/helpers/survival_iter_config.py'
# 88 images, 44 a rank: three iterations an epoch, or 18 iterations over a sampler without an end.
LAST = {EPOCH: 'epoch_3.pth', ITER: 'iter_18.pth'}


@pytest.fixture(scope='module')
def train(fork_tool):
    """``train(work_dir, *options)`` with two ranks."""

    def run(work_dir, *options, config=EPOCH, resume=False):
        arguments = [config, '--work-dir', work_dir, '--seed', 3, *['--resume'] * resume]
        return fork_tool('train.py', *arguments, '--cfg-options', *options, ranks=2)

    return run


@pytest.fixture(scope='module')
def resumes_to_whole(train, tmp_path_factory):
    """Whether a resumed training ends as one that ran through."""
    states = {}

    def check(work_dir, resumed, config=EPOCH):
        if config not in states:
            whole = tmp_path_factory.mktemp('whole')
            result = train(whole, 'train_dataloader.num_workers=0', config=config)
            assert result.returncode == 0, result.stdout
            states[config] = state_of(load_from_local(whole / LAST[config]))
        result = train(work_dir, 'train_dataloader.num_workers=2', config=config, resume=True)
        assert result.returncode == 0, result.stdout
        assert resumed in result.stdout
        found = state_of(load_from_local(work_dir / LAST[config]))
        different = [p for p in differences(states[config], found) if 'keep_ckpt_ids' not in p]
        assert not different, different

    return check


def test_a_signal_to_one_rank_stops_both(train, resumes_to_whole, tmp_path):
    """Within an epoch, where the ranks differ in their running statistics."""
    options = [f'custom_hooks.2.{o}' for o in ('at=5', 'name=SIGTERM', 'rank=1')]
    result = train(tmp_path, *options)
    assert result.returncode == EXIT_CODE
    assert 'stopped by another rank' in result.stdout
    saved = load_from_local(tmp_path / 'preempted.pth')
    first, second = (rank['buffers'] for rank in saved['resume']['ranks'])
    assert differences(first, second)
    resumes_to_whole(tmp_path, 'resumed epoch: 1, iter: 5')


def test_a_killed_rank_by_iteration(train, resumes_to_whole, tmp_path):
    """Behind the checkpoint of iteration 4."""
    options = [f'custom_hooks.2.{o}' for o in ('at=7', 'rank=1')]
    result = train(tmp_path, *options, config=ITER)
    assert result.returncode != 0
    resumes_to_whole(tmp_path, 'iter: 4', ITER)


def test_a_signal_to_the_launcher_stops_all(tmp_path):
    """It passes the signal on, to worker processes as well."""
    options = ['train_cfg.max_epochs=500', 'train_dataloader.num_workers=1']
    text = signal_launcher(tmp_path, EPOCH, 2, 'SIGUSR1', *options)
    assert 'stopped by SIGUSR1; go on with --resume' in text, text
    saved = load_from_local(tmp_path / 'preempted.pth')
    # Two epochs at least: the signal may come while the second one's checkpoint is written.
    assert saved['meta']['iter'] >= 6 and len(saved['resume']['ranks']) == 2
