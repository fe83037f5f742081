"""tools/analysis_tools/compare_methods.py as a user runs it, on tiny trainings."""

import fcntl
import json
import re
import signal
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mman.apis.models import build_local_model
from mman.apis.places import LOCK
from mman.datasets import Digits
from mman.utils.checkpoint import load_from_local
from tests.helpers.run_tool import call_tool, one_error
from tests.helpers.tables import cells, csv_rows

ROOT = Path(__file__).resolve().parents[2]
DIGITS = 'configs/man/resnet20_k10_digits.py'
TINY = f"""
_base_ = '{ROOT / DIGITS}'
model = dict(
    backbone=dict(widths=(4, 4, 8, 8)),
    splitter=dict(num_blocks=2, strategy='uniform', stem='fused'),
    head=dict(in_channels=8),
)
train_dataloader = dict(dataset=dict(indices=256))
train_cfg = dict(max_epochs=2)
comparison = dict(methods=['greedy', 'man_greedy.py'], seeds=[4])
"""
MAN_GREEDY = """
model = dict(aux_head=dict(type='MomentumAuxHead', mix='sum', host=dict(type='LinearAuxHead')))
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.9)]
"""
NAMES = ['bp_k1_seed4', 'greedy_k2_seed4', 'man_greedy_k2_seed4']


def run_tool(*args, cwd):
    """Run the tool inside this process; its trainings are processes of their own."""
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setenv('PYTHONPATH', str(ROOT))
        patch.setenv('CUDA_VISIBLE_DEVICES', '')
        try:
            return call_tool('analysis_tools/compare_methods.py', *args)
        finally:
            signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    """A folder with a config and a method of its own."""
    folder = tmp_path_factory.mktemp('project')
    (folder / 'tiny.py').write_text(TINY)
    (folder / 'man_greedy.py').write_text(MAN_GREEDY)
    return folder


def compare(project, *more):
    return run_tool('tiny.py', '--work-dir', 'out', '--rounds', 2, *more, cwd=project)


@pytest.fixture(scope='module')
def first(project):
    """A comparison one of whose runs failed, since another process is in its folder."""
    busy = project / 'out' / NAMES[1]
    busy.mkdir(parents=True)
    with open(busy / LOCK, 'w') as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        return compare(project, '--jobs', 2), (project / 'out/comparison.md').read_text()


def result(project, name):
    return json.loads((project / 'out' / name / 'result.json').read_text())


def weights(project, name):
    return load_from_local(project / 'out' / name / 'epoch_2.pth')['state_dict']


@pytest.mark.full
@pytest.mark.slow
def test_a_failed_run_is_told_and_the_others_go_on(project, first):
    ended, text = first
    assert ended.returncode == 1 and 'Traceback' not in ended.stderr
    last = ended.stderr.strip().splitlines()[-1]
    assert f'{NAMES[1]} failed, see' in last and last.endswith('output.txt')
    output = (project / 'out' / NAMES[1] / 'output.txt').read_text()
    assert 'is in use by another training' in output.splitlines()[-1]
    table = {row['method']: row for row in cells(text)}
    assert table['greedy']['top-1 error, %'] == 'failed'
    assert text in ended.stdout
    for name, method in zip(NAMES[::2], ('bp', 'man_greedy'), strict=True):
        assert table[method]['top-1 error, %'] == f'{100 - result(project, name)["top1"]:.2f}'


@pytest.mark.full
@pytest.mark.slow
def test_the_result_is_the_accuracy_of_the_last_weights(project, first):
    digits = Digits(split='test', pipeline=[])
    images = torch.stack([torch.from_numpy(digits[i]['img']).permute(2, 0, 1) for i in range(359)])
    labels = torch.tensor([digits[i]['gt_label'] for i in range(359)])
    for name in NAMES[::2]:
        cfg = Config.fromfile(project / 'out' / 'configs' / f'{name}.py')
        model = build_local_model(cfg)
        model.load_state_dict(weights(project, name))
        with torch.no_grad():
            features = model.eval().extract_feat((images.float() - 78) / 96)
        scores = model.head.fc(features[-1] if isinstance(features, tuple) else features)
        hits = (scores.argmax(1) == labels).float().mean().item()
        assert result(project, name)['top1'] == pytest.approx(100 * hits, abs=1e-4)


@pytest.mark.full
@pytest.mark.slow
def test_a_second_start_does_what_is_left(project, first):
    """One run is done, one was stopped after its first epoch, one never began."""
    out = project / 'out'
    kept = out / NAMES[0] / 'result.json'
    before = kept.stat().st_mtime_ns
    stopped, straight = out / NAMES[2], weights(project, NAMES[2])
    accuracy = result(project, NAMES[2])['top1']
    for name in ('result.json', 'epoch_2.pth'):
        (stopped / name).unlink()
    (stopped / 'last_checkpoint').write_text(str(stopped / 'epoch_1.pth'))
    again = compare(project)
    assert again.returncode == 0, again.stderr
    assert '3 runs, 1 of them done' in again.stderr
    assert kept.stat().st_mtime_ns == before
    resumed = result(project, NAMES[2])
    assert resumed['resumed'] and resumed['top1'] == accuracy
    assert not result(project, NAMES[1])['resumed']
    for key, value in weights(project, NAMES[2]).items():
        assert torch.equal(value, straight[key]), key
    runs = csv_rows(out / 'runs.csv')
    assert [f'{r["method"]}_k{r["num_blocks"]}_seed{r["seed"]}' for r in runs] == NAMES
    assert [float(r['top1']) for r in runs] == [result(project, name)['top1'] for name in NAMES]
    table = cells((out / 'comparison.md').read_text())
    assert [row['method'] for row in table][:2] == ['bp', 'bp-checkpoint']
    assert [row['method'] for row in table][12:] == ['greedy', 'man_greedy']
    assert not any('failed' in row['top-1 error, %'] for row in table)
    assert re.fullmatch(r'[+-]\d+\.\d\d', table[13]['- host'])


@pytest.mark.full
@pytest.mark.slow
def test_another_recipe_is_refused_and_nothing_changes(project, first):
    out = project / 'out'
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    ended = compare(project, '--cfg-options', 'train_cfg.max_epochs=3')
    one_error(ended, 'bp_k1_seed4.py', 'train_cfg.max_epochs=2', 'would be 3', '--work-dir')
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*')} == before


@pytest.mark.parametrize(
    ('args', 'named'),
    [
        ([DIGITS], ['--work-dir']),
        ([DIGITS, '--work-dir', 'absent', '--methods', 'mann'], ["'mann'", 'manpp_dgl']),
    ],
)
def test_bad_input_ends_in_one_error(args, named):
    one_error(run_tool(*args, cwd=ROOT), 'compare_methods.py: error: ', *named)
    assert not (ROOT / 'absent').exists()
