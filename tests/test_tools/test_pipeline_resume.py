"""Pipelines that are stopped or killed, and go on with other numbers of stages."""

import time

import pytest

from mman.utils.checkpoint import load_from_local
from mman.utils.preempted import EXIT_CODE
from tests.helpers.interruption import differences, state_of
from tests.helpers.launch import signal_launcher
from tests.helpers.pipeline_cases import block_losses

pytestmark = [pytest.mark.dist, pytest.mark.full]
CONFIG = 'tests/helpers/pipeline_config.py'
LAST = 'epoch_3.pth'


@pytest.fixture(scope='module')
def train(fork_tool):
    """``train(work_dir, stages, *options)``; with one stage in a single process, no pipeline."""

    def run(work_dir, stages, *options, resume=False, ranks=None):
        arguments = [CONFIG, '--work-dir', work_dir, '--seed', 3, *['--resume'] * resume]
        options = [*options, f'model_wrapper_cfg.stages={stages}']
        return fork_tool('train.py', *arguments, '--cfg-options', *options, ranks=ranks or stages)

    return run


@pytest.fixture(scope='module')
def whole(train, tmp_path_factory):
    """The folder of a training in one process that ran through."""
    folder = tmp_path_factory.mktemp('whole')
    result = train(folder, 1)
    assert result.returncode == 0, result.stdout
    return folder


def _losses(folder):
    """All lines of the block losses, of one start or of several."""
    logs = sorted(folder.rglob('block_losses.jsonl'))
    return [record for log in logs for record in block_losses(log)]


def _interrupt(**keys):
    return [f'custom_hooks.1.{key}={value}' for key, value in keys.items()]


def _differences(first, second):
    states = [state_of(load_from_local(path)) for path in (first, second)]
    # What was saved in between is listed in one of them.
    return [p for p in differences(*states) if 'keep_ckpt_ids' not in p]


def test_two_stages_then_one_process_then_three_stages(train, whole, tmp_path):
    """Each stopped within an epoch, by a signal to another rank."""
    result = train(tmp_path, 2, *_interrupt(at=2, name='SIGTERM', rank=1))
    assert result.returncode == EXIT_CODE, result.stdout
    assert 'stopped by' in result.stdout
    first = load_from_local(tmp_path / 'preempted.pth')
    assert len(first['resume']['ranks']) == 1 and 2 <= first['meta']['iter'] < 6
    result = train(tmp_path, 1, *_interrupt(at=9, name='SIGTERM'), resume=True)
    assert result.returncode == EXIT_CODE, result.stdout
    assert load_from_local(tmp_path / 'preempted.pth')['meta']['iter'] == 9
    result = train(tmp_path, 3, resume=True)
    assert result.returncode == 0, result.stdout
    assert 'iter: 9' in result.stdout
    assert not _differences(whole / LAST, tmp_path / LAST)
    assert _losses(tmp_path) == _losses(whole)


def test_validation_and_the_best_checkpoint_are_those_of_one_process(train, whole, tmp_path):
    result = train(tmp_path, 4)
    assert result.returncode == 0, result.stdout
    assert {path.name for path in tmp_path.glob('*.pth')} == {p.name for p in whole.glob('*.pth')}
    for path in whole.glob('*.pth'):
        states = [state_of(load_from_local(folder / path.name)) for folder in (whole, tmp_path)]
        if path.name.startswith('best'):
            # It has no optimizer, so that nothing resumes from it.
            states = [{k: v for k, v in state.items() if k != 'resume'} for state in states]
        assert not differences(*states), path.name
    scalars = [line for line in result.stdout.splitlines() if 'accuracy/top1' in line]
    assert scalars


@pytest.mark.parametrize('rank', [0, 1, 2])
def test_a_killed_rank_ends_all_and_is_resumed(train, whole, tmp_path, rank):
    """Behind the checkpoint of the first epoch."""
    result = train(tmp_path, 3, *_interrupt(at=8, rank=rank))
    assert result.returncode != 0
    # What is promised, not a speed: processes that wait for a dead one would wait for minutes.
    assert time.time() - (tmp_path / 'interrupted').stat().st_mtime < 15
    assert (tmp_path / 'epoch_1.pth').exists() and not (tmp_path / 'epoch_2.pth').exists()
    result = train(tmp_path, 3, resume=True)
    assert result.returncode == 0, result.stdout
    assert not _differences(whole / LAST, tmp_path / LAST)


def test_a_signal_to_the_launcher(tmp_path):
    """One checkpoint of one iteration, by all of torchrun's processes."""
    options = ['train_cfg.max_epochs=500', 'model_wrapper_cfg.stages=2']
    text = signal_launcher(tmp_path, CONFIG, 2, 'SIGTERM', *options)
    assert 'stopped by SIGTERM' in text, text
    saved = load_from_local(tmp_path / 'preempted.pth')
    assert saved['meta']['iter'] >= 6 and len(saved['resume']['ranks']) == 1


@pytest.mark.parametrize(
    ('stages', 'ranks', 'options', 'message'),
    [
        (2, 3, (), 'model_wrapper_cfg.stages=2 does not divide the 3 processes'),
        (
            2,
            2,
            (
                'model.head.type=StackedLinearClsHead',
                'model.head.mid_channels=[16]',
                'model.head.dropout_rate=0.5',
            ),
            'block3 draws random numbers (bernoulli_)',
        ),
    ],
    ids=['processes', 'dropout'],
)
def test_what_is_refused_takes_one_line(train, tmp_path, stages, ranks, options, message):
    result = train(tmp_path, stages, *options, ranks=ranks)
    assert result.returncode == 2, result.stdout
    assert 'Traceback' not in result.stdout
    # Each process says so, as with any wrong config.
    lines = [line for line in result.stdout.splitlines() if ': error: ' in line]
    assert len(lines) == ranks and all(message in line for line in lines), lines


def test_a_loss_that_is_not_finite_in_the_last_stage_stops_the_first(train, tmp_path):
    """With one line each, which names the block, and no checkpoint."""
    options = [
        'optim_wrapper.blocks.3.optimizer.lr=1e30',
        'optim_wrapper.accumulative_counts=1',
        'default_hooks.finite_guard.type=FiniteGuardHook',
        'default_hooks.finite_guard.interval=3',
        'train_cfg.max_epochs=20',
        'default_hooks.checkpoint.interval=20',
    ]
    result = train(tmp_path, 3, *options)
    assert result.returncode == 2, result.stdout
    lines = [line for line in result.stdout.splitlines() if ': error: ' in line]
    assert len(lines) == 3, result.stdout
    assert all('block3 was not finite in iteration 2' in line for line in lines), lines
    assert not list(tmp_path.glob('*.pth'))


def test_a_full_disk_ends_all_and_keeps_what_was_there(fork_tool, train, tmp_path):
    result = train(tmp_path, 2, 'train_cfg.max_epochs=1')
    assert result.returncode == 0, result.stdout
    before = (tmp_path / 'epoch_1.pth').read_bytes()
    arguments = [CONFIG, '--work-dir', tmp_path, '--seed', 3, '--resume']
    result = fork_tool('train.py', *arguments, ranks=2, file_limit=len(before) // 2)
    assert result.returncode == 2, result.stdout
    assert result.stdout.count('train.py: error: ') == 1
    assert 'cannot be written' in result.stdout or 'could not be' in result.stdout
    assert (tmp_path / 'epoch_1.pth').read_bytes() == before
    assert not (tmp_path / 'epoch_2.pth').exists()
