"""benchmarks/gpu.sh: slices, failures, refusals, and all of it as a dry run on the CPU."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as program
from benchmarks.gpu import slices
from benchmarks.gpu.day import begin_or_go_on
from benchmarks.gpu.jobs import METHODS, Job, epochs_that_fit, make_jobs
from benchmarks.gpu.page import write_page
from benchmarks.gpu.results import ROOT, Results
from mman.utils import UserError
from tests.helpers.run_tool import call_tool, one_error

SETTINGS = dict(dry_run=False, epochs=None, train_minutes=5, other_files=False)
WRITE = 'import pathlib, sys, time; pathlib.Path(sys.argv[-1]).write_text(\'{"time": %r}\' % 1.5)'
WAIT = 'import time; print("waits", flush=True); time.sleep(60)'
# Saves at SIGTERM as a training does, and ends where it has saved before.
TRAIN = """
import pathlib, signal, sys, time
saved = pathlib.Path(sys.argv[-1]).with_name('saved')
def stop(*_):
    saved.touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
saved.with_name('ready').touch()
while not saved.is_file():
    time.sleep(0.05)
pathlib.Path(sys.argv[-1]).write_text('{}')
"""


def work(jobs, results, seconds=600.0):
    """A slice; the lines that it tells."""
    lines = []
    slices.work_through(lambda: jobs, results, time.monotonic() + seconds, lines.append)
    return lines


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob('*.json') if 'work' not in path.parts}


def left(jobs, results):
    return [job.name for job in slices.open_jobs(jobs, results)]


def test_a_slice_starts_what_may_end_in_time_and_the_next_one_goes_on(tmp_path):
    results = Results(tmp_path)
    jobs = [
        Job(name, ('-c', WRITE), seconds)
        for name, seconds in zip('abc', (20, 900, 30), strict=True)
    ]
    work(jobs, results)
    before = files(tmp_path)
    assert left(jobs, results) == ['b'] and len(before) == 2
    assert results.result('a')['output'] == {'time': 1.5}
    work(jobs, results, 1200.0)
    assert left(jobs, results) == [] and len(files(tmp_path)) == 3
    assert before.items() <= files(tmp_path).items()


def test_a_failure_is_kept_and_tried_once_more_after_the_others(tmp_path):
    results = Results(tmp_path)
    flag = tmp_path / 'there'
    once = f'import pathlib; pathlib.Path({str(flag)!r}).stat()\n{WRITE}'
    broken = f'raise ValueError("no such kernel in {tmp_path}")'
    jobs = [
        Job('good', ('-c', WRITE), 60),
        Job('later', ('-c', WRITE), 60, after='broken'),
        Job('broken', ('-c', broken), 60),
        Job('lazy', ('-c', 'pass'), 60),
        Job('once', ('-c', once), 60),
        Job('lacking', ('-c', WRITE), 60, unavailable='no compiler'),
    ]
    assert [line.partition(':')[0] for line in work(jobs, results)[::2]] == [
        *('good', 'broken', 'lazy', 'once')
    ]
    first = results.failure('broken')
    assert first['attempts'] == 1 and 'no such kernel in FOLDER' in first['error']
    assert any('Traceback' in line for line in first['log'])
    assert 'exit code 0: nothing printed' in results.failure('lazy')['error']
    assert left(jobs, results) == ['later', 'broken', 'lazy', 'once']
    flag.touch()
    work(jobs, results)
    assert results.failure('broken')['attempts'] == 2 and left(jobs, results) == []
    assert results.result('once')['failure']['attempts'] == 1 and not results.failure('once')
    write_page('command', day(), jobs, results)
    page = (tmp_path / 'README.md').read_text()
    assert '- `broken`: failed: exit code 1: ValueError: no such kernel in FOLDER' in page
    assert '- `later`: needs `broken`, which failed' in page
    assert '- `lacking`: not available: no compiler' in page
    assert str(tmp_path) not in page and program.summarize(jobs, results) == 1


def test_what_takes_too_long_is_ended_and_a_training_saves(tmp_path, monkeypatch):
    monkeypatch.setattr(slices, 'MARGIN', 0)
    results = Results(tmp_path)
    jobs = [Job('new', ('-c', WRITE), 1), Job('hangs', ('-c', WAIT), 1)]
    (line,) = work(jobs[1:], results, 3)[1:]
    assert line.startswith('hangs: failed, ended after')
    # Next time it has a whole slice.
    assert results.failure('hangs')['cut'] and left(jobs, results) == ['hangs', 'new']

    class Started(subprocess.Popen):
        """One whose time begins when it is ready for a signal, however busy the machine is."""

        def wait(self, timeout=None):
            while self.poll() is None and not (results.work / 'ready').exists():
                time.sleep(0.02)
            return super().wait(timeout)

    training = [Job('training', ('-c', TRAIN), 1, resumable=True)]
    with monkeypatch.context() as patch:
        patch.setattr(slices, 'GRACE', 600)
        patch.setattr(slices.subprocess, 'Popen', Started)
        (line,) = work(training, results)[1:]
    assert 'goes on in the next call' in line and left(training, results) == ['training']
    assert program.summarize(training, results) == 75
    work(training, results)
    assert program.summarize(training, results) == 0 and not results.failure('training')


def day(**changes):
    same = dict(commit='c0ffee', changed=0, sources='5a5a', device='a GPU', driver='1', cuda='2')
    settings = dict(SETTINGS, **changes)
    return dict(same, date='2000-01-01', cudnn=3, versions={'torch': '4'}, settings=settings)


def test_a_folder_is_of_one_commit_and_one_setting(tmp_path):
    begun = begin_or_go_on(tmp_path, day())
    assert begin_or_go_on(tmp_path, dict(day(), date='2000-01-02', commit='bad')) == begun
    for other in (dict(day(), sources='6b6b'), dict(day(), device='another'), day(epochs=3)):
        with pytest.raises(UserError, match='was begun with (sources|device|settings)=.*another'):
            begin_or_go_on(tmp_path, other)
    foreign = tmp_path / 'foreign'
    foreign.mkdir()
    (foreign / 'file').touch()
    with pytest.raises(UserError, match='is not empty, and no GPU day was begun in it'):
        begin_or_go_on(foreign, day())


def refused(monkeypatch, capsys, *args):
    monkeypatch.setattr(sys, 'argv', ['gpu.sh', *map(str, args)])
    with pytest.raises(SystemExit) as stop:
        program.main()
    result = capsys.readouterr()
    return one_error(subprocess.CompletedProcess(args, stop.value.code, result.out, result.err))


def test_what_is_missing_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    folder = tmp_path / 'day'
    assert 'torch sees no GPU; --dry-run' in refused(monkeypatch, capsys, folder)
    assert not folder.exists()
    with monkeypatch.context() as patch:
        patch.setattr(program, 'PACKAGES', ['torch', 'absent_package'])
        assert 'not installed: absent_package' in refused(patch, capsys, folder)
    (tmp_path / 'file').touch()
    line = refused(monkeypatch, capsys, tmp_path / 'file' / 'day', '--dry-run')
    assert 'cannot be written: Not a directory' in line
    line = refused(monkeypatch, capsys, folder, '--dry-run', '--minutes', 0.5)
    assert '--minutes 0.5 is too short for a job that may take 50 s' in line
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    line = refused(monkeypatch, capsys, folder, '--data', tmp_path)
    assert 'cifar-10-batches-py is missing' in line and '--other-files' in line


def test_epochs_follow_from_the_trial_and_stay(tmp_path):
    probes = {
        name: dict(seconds_per_epoch=s) for name, s in zip(METHODS, (2.0, 3.0, 5.5), strict=True)
    }
    fitting = {
        minutes: epochs_that_fit(dict(SETTINGS, train_minutes=minutes), probes)
        for minutes in (5, 0.01, 1000)
    }
    assert fitting == {5: 28, 0.01: 1, 1000: 160}
    results = Results(tmp_path)
    trainings = [f'train-{method}' for method in METHODS]

    def jobs(**settings):
        found = make_jobs({**SETTINGS, **settings}, results, '/data', {'compiled': 'no triton'})
        return {job.name: job for job in found}

    found = jobs()
    assert len(found) == 1 + 4 + 4 * 4 + 1 + 3
    assert [name for name, job in found.items() if job.unavailable] == [
        f'time-{case}-compiled'
        for case in ('resnet32_k16', 'resnet110_k55', 'resnet50_k4', 'resnet101_k4')
    ]
    assert all(found[name].after == 'probe' and found[name].resumable for name in trainings)
    results.keep('probe', 'python', 1, dict(runs=probes))
    assert all('28' in jobs()[name].command for name in trainings)
    assert 'probe' not in jobs(epochs=7) and '7' in jobs(epochs=7)[trainings[0]].command
    assert not {*trainings, 'probe'} & {job.name for job in make_jobs(SETTINGS, results, None, {})}


def test_the_commands_for_a_gpu_are_ones_that_the_scripts_know(tmp_path, monkeypatch):
    """No GPU is needed to see that names of cases, variants and arguments are right."""
    monkeypatch.syspath_prepend(str(ROOT / 'benchmarks'))
    scripts = {}
    for name in ('memory', 'time'):
        place = ROOT / 'benchmarks' / f'{name}.py'
        spec = importlib.util.spec_from_file_location(f'benchmark_{name}', place)
        scripts[place.relative_to(ROOT).as_posix()] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(scripts[place.relative_to(ROOT).as_posix()])
    sys.modules.pop('common', None)
    jobs = [job for job in make_jobs(SETTINGS, Results(tmp_path), None, {}) if job.name != 'tests']
    assert len(jobs) == 20
    for job in jobs:
        script = scripts[job.command[0]]
        args = script.build_parser().parse_args(job.command[1:])
        case = args.case if 'time' in job.name else args.cases[0]
        kinds = script.variants(case, *([] if 'time' in job.name else [args.batch]))
        found = script.chosen(list(kinds), args.only)
        assert len(found) == len(args.only) + 1
        assert all((ROOT / 'configs' / kind.config).is_file() for kind in found)


def test_a_row_without_enough_memory_says_so(tmp_path, monkeypatch):
    import torch

    from mman.apis import memory_prediction

    def measure(cfg, batch, device, cached):
        if cfg.model.get('aux_head'):
            raise torch.OutOfMemoryError('CUDA out of memory')
        return 2**20

    monkeypatch.setattr(memory_prediction, 'measure_memory', measure)
    args = ('resnet32_k16', '--how', 'fake', 'real', '--batch', 2, '--only', 'dgl')
    out = tmp_path / 'memory.json'
    result = call_tool('../benchmarks/memory.py', *args, '--out', out)
    sys.modules.pop('common', None)
    assert result.returncode == 0, result.stderr
    content = json.loads(out.read_text())
    bp, dgl = content['records']
    assert bp['ratio']['real'] == 1 and dgl['peak_bytes']['real'] is dgl['ratio']['real'] is None
    assert dgl['ratio']['fake'] > 0
    (row,) = [line for line in result.stdout.splitlines() if 'dgl' in line]
    assert 'out of memory' in row
    results = Results(tmp_path)
    results.keep('memory-resnet32_k16', 'python', 1, content)
    write_page('command', day(), [], results)
    assert 'out of memory' in (tmp_path / 'README.md').read_text()


def call(folder, minutes):
    """The command as it is typed; its output."""
    environment = {**os.environ, 'PYTHON': sys.executable, 'CUDA_VISIBLE_DEVICES': ''}
    command = ['bash', str(ROOT / 'benchmarks' / 'gpu.sh'), folder, '--dry-run', '--minutes']
    result = subprocess.run(
        [*command, str(minutes)], env=environment, capture_output=True, text=True, cwd=folder.parent
    )
    assert not result.stderr
    return result.returncode, result.stdout


@pytest.mark.full
def test_a_dry_run_in_slices(tmp_path):
    folder = tmp_path / 'day'
    code, output = call(folder, 1)
    assert code == 75 and 'run the same command again' in output
    first = {path: text for path, text in files(folder).items() if path.parent.name == 'raw'}
    assert 'not run yet' in (folder / 'README.md').read_text()
    code, output = call(folder, 9)
    assert code == 0 and 'nothing is left' in output, output
    assert first.items() <= files(folder).items()
    page = (folder / 'README.md').read_text()
    results = Results(folder)
    assert 'A dry run on a CPU with tiny settings' in page
    assert 'time-resnet32_k16-compiled`: not available: dry run' in page
    tests = results.result('tests')['output']
    assert tests['skipped'] and f'0 failed, {len(tests["skipped"])} skipped' in page
    assert not (folder / 'work').exists()
    for record in results.result('memory-resnet32_k16')['output']['records']:
        assert f'{record["peak_bytes"]["real"] / 2**20:,.1f} |' in page
    for name in ('resnet32_k16-eager', 'resnet32_k16-bf16', 'resnet110_k55-eager'):
        for record in results.result(f'time-{name}')['output']['records']:
            rate = 2 / sorted(record['seconds'])[0], 2 / sorted(record['seconds'])[1]
            assert min(rate) <= record['images_per_second'] <= max(rate)
            assert f' {record["images_per_second"]:,.1f} |' in page
            assert f'{record["ratio"]:.3f}' in page
    probe = results.result('probe')['output']
    assert probe['epochs'] == 3 and list(probe['runs']) == list(METHODS)
    epochs = epochs_that_fit(dict(SETTINGS, dry_run=True), probe['runs'])
    for method in METHODS:
        output = results.result(f'train-{method}')['output']
        assert output['epochs'] == epochs and f'{output["runs"][method]["top1"]:.2f} %' in page
        ended = [line for line in output['runs'][method]['scalars'] if 'accuracy/top1' in line]
        assert len(ended) == epochs
    # What is kept of the folder names no place of this machine.
    kept = [page, *(text.decode() for text in files(folder).values())]
    assert not [text for text in kept if str(tmp_path) in text or str(Path.home()) in text]
