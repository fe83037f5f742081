"""The launch scripts on a CPU, as a user runs them."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mman.utils.checkpoint import load_from_local
from tests.helpers.interruption import differences, state_of
from tests.helpers.launch import DIGITS, OPTIONS, children, environment
from tests.helpers.run_tool import ROOT, run_tool

pytestmark = pytest.mark.dist


def _launch(script, *args, **extra):
    return subprocess.run(
        [str(ROOT / 'tools' / script), *map(str, args)],
        cwd=ROOT,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope='module')
def train(fork_tool):
    """``train(work_dir, ranks, epochs, *arguments)``, without a launcher."""

    def run(work_dir, ranks, epochs, *args):
        arguments = [DIGITS, '--work-dir', work_dir, *args, *_options(epochs)]
        result = fork_tool('train.py', *arguments, ranks=ranks)
        assert result.returncode == 0, result.stdout
        return result

    return run


def _options(epochs):
    return [*OPTIONS, f'train_cfg.max_epochs={epochs}', 'param_scheduler.end=3']


def _accuracy(text):
    return re.findall(r'accuracy/top1: (\d+\.\d+)', text)[-1]


@pytest.fixture(scope='module')
def two_ranks(tmp_path_factory):
    """One epoch by two processes, in a folder with a space in its name."""
    work_dir = tmp_path_factory.mktemp('two ranks')
    arguments = ['--work-dir', work_dir, '--seed', 1, '--auto-scale-lr', *_options(1)]
    result = _launch('dist_train.sh', DIGITS, 2, *arguments)
    assert result.returncode == 0, result.stderr
    return work_dir, result


@pytest.mark.full
def test_two_ranks_report_once(two_ranks):
    work_dir, result = two_ranks
    assert result.stdout.count('(last validation)') == 1
    assert (work_dir / 'epoch_1.pth').is_file()


@pytest.mark.full
def test_auto_scale_lr_goes_by_the_total_batch(two_ranks):
    """Two processes of 16 are half of the config's 64."""
    work_dir, result = two_ranks
    assert 'Scaling the original LR by 0.5' in result.stdout + result.stderr
    state = load_from_local(work_dir / 'epoch_1.pth')
    for wrapper in state['optimizer'].values():
        assert wrapper['param_groups'][0]['initial_lr'] == pytest.approx(0.05)


@pytest.fixture(scope='module')
def saved_by(train, two_ranks, tmp_path_factory):
    """Checkpoint of one epoch by any number of processes."""
    folders = {2: two_ranks[0]}

    def get(ranks):
        if ranks not in folders:
            folders[ranks] = tmp_path_factory.mktemp(f'by{ranks}')
            train(folders[ranks], ranks, 1)
        return folders[ranks] / 'epoch_1.pth'

    return get


@pytest.mark.full
def test_checkpoints_have_the_keys_of_one_process(saved_by):
    ours, plain = load_from_local(saved_by(2)), load_from_local(saved_by(1))
    assert ours.keys() == plain.keys()
    assert ours['state_dict'].keys() == plain['state_dict'].keys()
    assert ours['optimizer'].keys() == plain['optimizer'].keys()
    # 96 pictures: 6 iterations alone, 3 with two processes.
    assert ours['meta']['iter'] * 2 == plain['meta']['iter']


@pytest.mark.full
@pytest.mark.parametrize(('saving', 'resuming'), [(2, 1), (2, 3)])
def test_any_number_of_ranks_resumes(train, saved_by, tmp_path, saving, resuming):
    shutil.copy(saved_by(saving), tmp_path)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    result = train(tmp_path, resuming, 2, '--resume')
    assert 'resumed epoch: 1' in result.stdout + result.stderr
    before, after = (load_from_local(tmp_path / f'epoch_{i}.pth')['state_dict'] for i in (1, 2))
    # Six updates of the average an epoch by one process, three by two, two by three.
    name = 'aux_heads.0.num_updates'
    assert int(before[name]) == 6 // saving
    assert int(after[name]) == 6 // saving + 6 // resuming


@pytest.mark.full
def test_every_number_of_ranks_tests_alike(fork_tool, two_ranks, tmp_path):
    """97 samples on 1, 2 and 3 processes: each counted once."""
    checkpoint = two_ranks[0] / 'epoch_1.pth'
    arguments = [DIGITS, checkpoint, '--work-dir', tmp_path, *OPTIONS]
    alone, three = (fork_tool('test.py', *arguments, ranks=ranks) for ranks in (1, 3))
    expected = _accuracy(alone.stdout)
    # The share of 97 pictures, so a picture counted twice would show.
    assert float(expected) * 0.97 == pytest.approx(round(float(expected) * 0.97), abs=1e-3)
    assert _accuracy(three.stdout) == expected
    result = _launch('dist_test.sh', DIGITS, checkpoint, 2, '--work-dir', tmp_path, *OPTIONS)
    assert result.returncode == 0, result.stderr
    assert _accuracy(result.stdout) == expected


def _runs(pid):
    """Whether a process runs; one that has ended may wait for its parent."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


@pytest.mark.full
@pytest.mark.skipif(not Path('/proc/self/task').exists(), reason='needs /proc')
def test_ranks_end_when_the_launcher_is_killed(tmp_path):
    """With a checkpoint, as at any SIGTERM."""
    options = [*OPTIONS, 'train_cfg.max_epochs=3000']
    command = [ROOT / 'tools' / 'dist_train.sh', DIGITS, 2, '--work-dir', tmp_path, *options]
    with (tmp_path / 'output.txt').open('w') as log:
        launcher = subprocess.Popen(
            list(map(str, command)), cwd=ROOT, env=environment(), stdout=log, stderr=log
        )
    ranks = []
    try:
        for _ in range(1800):
            if (tmp_path / 'epoch_1.pth').exists():
                break
            time.sleep(0.1)
        ranks = children(launcher.pid)
        assert len(ranks) == 2 and all(map(_runs, ranks))
        launcher.kill()
        launcher.wait()
        for _ in range(600):
            if not any(map(_runs, ranks)):
                break
            time.sleep(0.1)
        assert not any(map(_runs, ranks)), (tmp_path / 'output.txt').read_text()
    finally:
        launcher.kill()
        for rank in filter(_runs, ranks):
            os.kill(rank, signal.SIGKILL)
    text = (tmp_path / 'output.txt').read_text()
    assert f'the launcher, process {launcher.pid}, is gone' in text
    assert load_from_local(tmp_path / 'preempted.pth')['meta']['iter'] >= 3


@pytest.mark.full
def test_a_mistake_ends_all_ranks_in_one_line_each(fork_tool, tmp_path):
    options = ['--work-dir', tmp_path, '--cfg-options', 'model.splitter.num_blocks=99']
    result = fork_tool('train.py', DIGITS, *options, ranks=2)
    assert result.returncode == 2 and 'Traceback' not in result.stdout
    lines = [line for line in result.stdout.splitlines() if 'num_blocks=99 is more than' in line]
    assert lines and all(': error: ' in line for line in lines)


@pytest.mark.parametrize(
    ('script', 'args', 'extra', 'message'),
    [
        ('dist_train.sh', [DIGITS], {}, 'usage: tools/dist_train.sh CONFIG PROCESSES'),
        ('dist_train.sh', [DIGITS, '--seed'], {}, "should be a number from 1, not '--seed'"),
        ('dist_train.sh', [DIGITS, 0], {}, "not '0'"),
        ('dist_test.sh', [DIGITS, 2], {}, 'usage: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES'),
        ('dist_test.sh', [DIGITS, 'x.pth', 'two'], {}, 'CHECKPOINT PROCESSES [arguments]: PROCESS'),
        ('dist_train.sh', [DIGITS, 2], {'NNODES': '2'}, 'needs MASTER_ADDR and MASTER_PORT'),
        ('slurm_train.sh', ['part', 'job', DIGITS], {}, 'PARTITION JOB_NAME CONFIG GPUS'),
    ],
)
def test_bad_arguments_of_the_scripts(script, args, extra, message):
    result = _launch(script, *args, **extra)
    assert result.returncode == 2 and message in result.stderr


def test_slurm_passes_everything_on(tmp_path):
    """A stand-in for srun that prints what it was given, one argument a line."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    path = f'{tmp_path}:{os.environ["PATH"]}'
    given = ['part', 'job', DIGITS, 16, '--work-dir', 'a b']
    result = _launch('slurm_train.sh', *given, PATH=path, SRUN_ARGS='-x n1')
    given = result.stdout.splitlines()
    assert given[given.index('--ntasks') + 1] == '16'
    assert given[given.index('--gres') + 1] == 'gpu:8' and '-x' in given
    assert given[-5:] == [DIGITS, '--work-dir', 'a b', '--launcher', 'slurm']


def test_the_launcher_without_its_environment_is_named():
    result = run_tool('train.py', DIGITS, '--launcher', 'pytorch')
    assert result.returncode == 2
    assert '--launcher pytorch needs RANK' in result.stderr


@pytest.mark.full
def test_two_ranks_train_in_phases_and_go_on(fork_tool, tmp_path):
    """The last phase anew, as after a kill, ends as it did."""
    arguments = ['tests/helpers/phases_config.py', '--seed', 3, '--work-dir', tmp_path]
    arguments += ['--cfg-options', 'train_cfg.max_epochs=1']
    assert fork_tool('train.py', *arguments, ranks=2).returncode == 0
    last = tmp_path / 'phase2/epoch_1.pth'
    expected = state_of(load_from_local(last))
    shutil.rmtree(last.parent)
    record = json.loads((tmp_path / 'phases.json').read_text())
    record['done'].pop()
    (tmp_path / 'phases.json').write_text(json.dumps(record))
    assert fork_tool('train.py', *arguments, '--resume', ranks=2).returncode == 0
    assert differences(expected, state_of(load_from_local(last))) == []
