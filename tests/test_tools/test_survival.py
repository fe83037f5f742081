"""Full disks, damaged checkpoints, signals and numbers that go wrong, in whole trainings."""

import os
import shutil
import signal
import time

import pytest

from mman.engine.hooks import CheckpointHook
from mman.utils.checkpoint import load_from_local
from mman.utils.preempted import EXIT_CODE
from tests.helpers.interruption import differences, state_of

pytestmark = pytest.mark.full
CONFIG = 'tests/helpers/survival_config.py'


@pytest.fixture(scope='module')
def whole(server, tmp_path_factory):
    """Folder and output of a training without any trouble."""
    folder = tmp_path_factory.mktemp('whole')
    arguments = [CONFIG, '--work-dir', folder / 'work', '--seed', 3]
    code, output = server.run(folder / 'log.txt', *arguments)
    assert code == 0, output
    return folder / 'work', output


@pytest.fixture
def train(server, tmp_path):
    """``train(*options)`` in ``tmp_path / 'work'`` gives the exit code and the output."""

    def run(*options, resume=False, **kwargs):
        arguments = [CONFIG, '--work-dir', tmp_path / 'work', '--seed', 3, *['--resume'] * resume]
        options = ['--cfg-options', *options] if options else []
        return server.run(tmp_path / 'log.txt', *arguments, *options, **kwargs)

    return run


def error_line(output):
    (line,) = [line for line in output.splitlines() if ': error: ' in line]
    assert 'Traceback' not in output
    return line


def files(tmp_path):
    paths = (tmp_path / 'work').glob('[!.]*')
    return sorted(path.name for path in paths if path.is_file())


def test_a_full_disk_keeps_what_there_is(train, tmp_path):
    """The second checkpoint does not fit: it is larger by an optimizer's state."""
    work = tmp_path / 'work'
    code, output = train('train_cfg.max_epochs=1')
    assert code == 0, output
    first = (work / 'epoch_1.pth').read_bytes()
    code, output = train(resume=True, file_limit=len(first) // 2)
    assert code == 2, output
    line = error_line(output)
    assert 'epoch_2.pth' in line and 'earlier files are as they were' in line
    assert files(tmp_path) == ['epoch_1.pth', 'last_checkpoint', 'survival_config.py']
    assert (work / 'epoch_1.pth').read_bytes() == first
    assert (work / 'last_checkpoint').read_text() == str(work / 'epoch_1.pth')
    code, output = train(resume=True)
    assert code == 0, output
    assert files(tmp_path)[:3] == ['epoch_2.pth', 'epoch_3.pth', 'last_checkpoint']


def test_resume_passes_over_a_damaged_checkpoint_and_says_so(train, whole, tmp_path):
    work = tmp_path / 'work'
    shutil.copytree(whole[0], work)
    (work / 'last_checkpoint').write_text(str(work / 'epoch_3.pth'))
    expected = state_of(load_from_local(work / 'epoch_3.pth'))
    content = bytearray((work / 'epoch_3.pth').read_bytes())
    content[len(content) // 3] ^= 16
    (work / 'epoch_3.pth').write_bytes(content)
    code, output = train(resume=True)
    assert code == 0, output
    told = [line for line in output.splitlines() if line.startswith('WARNING: --resume')]
    assert 'epoch_3.pth' in told[0] and 'SHA-256' in told[0] and 'epoch_2.pth' in told[1]
    assert not differences(expected, state_of(load_from_local(work / 'epoch_3.pth')))
    for path in work.glob('*.pth'):
        path.write_bytes(path.read_bytes()[:1000])
    code, output = train(resume=True)
    assert code == 2, output
    assert 'epoch_2.pth' in error_line(output) and 'epoch_3.pth' in error_line(output)


def test_a_checkpoint_does_not_grow_with_the_training(train, tmp_path):
    code, output = train('train_cfg.max_epochs=8', 'default_hooks.checkpoint.max_keep_ckpts=-1')
    assert code == 0, output
    sizes = [(tmp_path / 'work' / f'epoch_{e}.pth').stat().st_size for e in (4, 8)]
    # Numbers in it get digits, but 4 epochs of mmengine's history are 16 bytes a number.
    assert sizes[1] - sizes[0] < 500


def test_the_log_smooths_over_the_interruption(train, whole, tmp_path):
    """The means of the last ten iterations that the log shows are those of one piece."""

    def losses(output):
        lines = [line for line in output.splitlines() if 'Epoch(train)' in line]
        return {line.split('  lr')[0].split('INFO')[1]: line.split('loss:')[1] for line in lines}

    code, output = train('custom_hooks.2.at=9', 'custom_hooks.2.name=SIGUSR1')
    assert code == EXIT_CODE, output
    last = output.strip().splitlines()[-1]
    assert 'stopped by SIGUSR1' in last and CheckpointHook.preempted in last
    assert CheckpointHook.preempted in files(tmp_path)
    (tmp_path / 'log.txt').unlink()
    code, resumed = train(resume=True)
    assert code == 0, resumed
    # The next checkpoint has replaced that of the preemption.
    assert files(tmp_path)[:2] == ['epoch_2.pth', 'epoch_3.pth']
    assert CheckpointHook.preempted not in files(tmp_path)
    after = losses(resumed)
    assert len(after) == 9 and after.items() <= losses(whole[1]).items()


def test_a_validation_that_was_missed_is_made_up_for(train, tmp_path):
    """The second epoch is validated; the interruption comes before it."""
    code, output = train('custom_hooks.2.at=12', 'custom_hooks.2.name=SIGTERM')
    assert code == EXIT_CODE and 'Epoch(val)' not in output, output
    code, output = train(resume=True)
    assert code == 0, output
    assert 'Epoch(val) [2]' in output and 'Epoch(val) [3]' in output


def test_a_validation_is_left_at_once_if_all_is_saved(train, tmp_path):
    options = ['custom_hooks.2.at=12', 'custom_hooks.2.name=SIGTERM', 'custom_hooks.2.when=val']
    code, output = train(*options)
    assert code == EXIT_CODE and 'accuracy' not in output.split('stopped by')[0], output
    assert files(tmp_path) == [
        'epoch_1.pth',
        'epoch_2.pth',
        'interrupted',  # of the hook that sends the signal
        'last_checkpoint',
        'survival_config.py',
    ]


def _await_checkpoint(training, tmp_path):
    for _ in range(600):
        if (tmp_path / 'work' / 'epoch_1.pth').exists():
            break
        time.sleep(0.1)
    # The pause begins within the next iteration.
    time.sleep(1)
    assert os.getpgid(training.pid) == training.pid


@pytest.mark.parametrize(
    ('number', 'persistent', 'sample'), [(signal.SIGTERM, True, 100), (signal.SIGINT, False, 50)]
)
def test_a_signal_to_all_processes_spares_the_workers(server, tmp_path, number, persistent, sample):
    """Schedulers, launchers and terminals signal the group; the worker holds the next batch."""
    arguments = [CONFIG, '--work-dir', tmp_path / 'work', '--seed', 3, '--cfg-options']
    loader = [f'train_dataloader.persistent_workers={persistent}']
    # A worker of one epoch counts from its beginning. The second epoch waits for the sample.
    transform = 'train_dataloader.dataset.pipeline.1'
    pause = [f'{transform}.pause_at={sample}', f'{transform}.seconds=4']
    workers = ['train_dataloader.num_workers=1']
    training = server.start(tmp_path / 'log.txt', *arguments, *loader, *pause, *workers)
    _await_checkpoint(training, tmp_path)
    os.killpg(training.pid, number)
    assert training.wait() == EXIT_CODE, training.output
    assert 'preempted.pth' in files(tmp_path)
    assert f'stopped by {number.name}' in training.output.strip().splitlines()[-1]
    assert 'Traceback' not in training.output


def test_a_second_signal_ends_at_once(server, tmp_path):
    """Its first is noted, and told for Ctrl-C; an iteration that waits for data never ends."""
    log = tmp_path / 'log.txt'
    slow = 'train_dataloader.dataset.pipeline.1.pause_at=100'
    training = server.start(log, CONFIG, '--work-dir', tmp_path / 'work', '--cfg-options', slow)
    _await_checkpoint(training, tmp_path)
    os.kill(training.pid, signal.SIGINT)
    # Passed on by a launcher: the same request.
    os.kill(training.pid, signal.SIGINT)
    time.sleep(1.5)
    os.kill(training.pid, 0)
    before = time.monotonic()
    os.kill(training.pid, signal.SIGINT)
    assert training.wait() == -signal.SIGINT
    assert time.monotonic() - before < 5
    assert 'Traceback' not in training.output
    assert training.output.count('Ctrl-C again ends at once') == 1
