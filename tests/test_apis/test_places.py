"""A work dir has one training at a time, and what cannot be written is named."""

import os
import resource
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from mmengine.config import Config

from mman.apis import build_runner, load_config, train_model
from mman.apis.distributed import join_processes
from mman.apis.places import held_places, write_errors
from mman.apis.test import _AtomicDump
from mman.utils import UserError


@contextmanager
def no_large_files():
    """Lets no file of this process grow beyond 1,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def config(folder, **hooks):
    return Config(dict(work_dir=str(folder), default_hooks=hooks))


def digits(folder):
    cfg = load_config('configs/bp/resnet20_digits.py')
    cfg.work_dir = str(folder)
    return cfg


def test_a_second_training_is_refused_until_the_first_is_killed(tmp_path):
    work, cfg = tmp_path / 'work', digits(tmp_path / 'work')
    left, foreign = work / 'epoch_1.pth.0a1b2c3d.mman-tmp', work / 'notes.pth.tmp'
    read, write = os.pipe()
    first = os.fork()
    if first == 0:
        with held_places(cfg):
            left.touch()
            foreign.touch()
            # As a data worker does, the child keeps all open files.
            worker = os.fork()
            if worker:
                os.write(write, str(worker).encode())
            time.sleep(60)
        os._exit(0)
    worker = int(os.read(read, 20))
    try:
        with pytest.raises(UserError) as error:
            train_model(cfg)
        line = f'work_dir={str(work)!r} is in use by another training (process {first} on '
        assert str(error.value).startswith(line) and '\n' not in str(error.value)
        assert {path.name for path in work.iterdir()} == {'.mman-lock', left.name, foreign.name}
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)
        os.kill(worker, 0)
        with held_places(cfg):
            assert {path.name for path in work.iterdir()} == {'.mman-lock', foreign.name}
    finally:
        os.kill(worker, signal.SIGKILL)


def test_checkpoints_of_two_work_dirs_of_one_name_do_not_meet(tmp_path):
    hooks = dict(checkpoint=dict(out_dir=str(tmp_path / 'kept')), logger=None)
    with held_places(config(tmp_path / 'run', **hooks)):
        assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*')} == {
            'run',
            'run/.mman-lock',
            'kept',
            'kept/run',
            'kept/run/.mman-lock',
        }


def test_ranks_but_the_first_hold_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    with held_places(Config(dict(work_dir=str(tmp_path / 'work'), launcher='pytorch'))):
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('hook', ['checkpoint', 'logger', None])
def test_a_place_that_cannot_be(tmp_path, hook):
    file = tmp_path / 'file'
    file.touch()
    if hook is None:
        key, cfg = 'work_dir', config(file / 'work')
    else:
        key = f'default_hooks.{hook}.out_dir'
        cfg = config(tmp_path / 'work', **{hook: dict(out_dir=str(file))})
    with pytest.raises(UserError) as error, held_places(cfg):
        pass
    line = f'{key}={str(file / "work")!r} cannot be written (Not a directory): give another place'
    assert str(error.value) == line


@pytest.mark.parametrize('folder', [5, ''])
def test_a_folder_that_is_none(tmp_path, folder):
    line = f'default_hooks.checkpoint.out_dir={folder!r} should be the path of a folder'
    with (
        pytest.raises(UserError, match=line),
        held_places(config(tmp_path / 'work', checkpoint=dict(out_dir=folder))),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_full_work_dir_before_data_is_read(tmp_path):
    cfg = digits(tmp_path / 'work')
    cfg.train_dataloader.dataset = dict(type='ImageNet', data_root='nowhere', pipeline=[])
    line = r"work_dir='.*/work' cannot be written \(File too large\)"
    with pytest.raises(UserError, match=line), no_large_files():
        train_model(cfg)


def test_a_config_that_cannot_be_dumped(tmp_path, monkeypatch):
    # It starts compilers.
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
    dump = tmp_path / 'resnet20_digits.py'
    dump.mkdir()
    with pytest.raises(UserError) as error:
        build_runner(digits(tmp_path))
    assert str(error.value).startswith(f'{str(dump)!r} cannot be written (Is a directory)')


def test_a_disk_that_is_full_later(tmp_path):
    """The system names no file then."""
    with (
        pytest.raises(UserError) as error,
        held_places(config(tmp_path)),
        Path('/dev/full').open('w') as log,
    ):
        log.write('loss')
    line = f'{str(tmp_path)!r} cannot be written (No space left on device): make room there'
    assert str(error.value).startswith(line)


def test_other_errors_pass(tmp_path):
    with pytest.raises(FileNotFoundError), write_errors(tmp_path):
        Path('/no/such/image.png').read_bytes()


def test_predictions_are_written_whole_or_not_at_all(tmp_path):
    line = r'out\.pkl.* could not be written \(File too large\)'
    with pytest.raises(UserError, match=line), no_large_files():
        _AtomicDump(str(tmp_path / 'out.pkl')).compute_metrics([bytes(2000)])
    assert not list(tmp_path.iterdir())


def test_only_a_launcher_is_missed(monkeypatch):
    """A training that was started from a shell outlives it."""
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'of another job')
    before = threading.enumerate()
    join_processes(Config(dict(launcher='none')))
    assert threading.enumerate() == before
