"""tools/analysis_tools/training_curves.py on logs with known numbers."""

import csv
import json

import pytest
from mmengine.visualization import LocalVisBackend

from tests.helpers.look_inside import ROOT, assert_one_error, picture_size
from tests.helpers.run_tool import call_tool

TOOL = 'analysis_tools/training_curves.py'


def start(folder, time, train=(), val=()):
    """One start of a run, written by what the Runner writes with."""
    (folder / time).mkdir(parents=True)
    backend = LocalVisBackend(save_dir=str(folder / time / 'vis_data'))
    for step, epoch, loss in train:
        backend.add_scalars({'block_loss/0': 9.0, 'block_loss/1': loss}, step=step)
        backend.add_scalars(dict(lr=0.1, loss=loss, epoch=epoch, iter=step), step=step)
    for epoch, accuracy in val:
        backend.add_scalars({'accuracy/top1': accuracy, 'time': 0.1}, step=epoch)
    return folder / time


@pytest.fixture
def runs(tmp_path):
    """One run as it went, and one that was resumed at epoch 2 after it had got to epoch 4."""
    plain = [(10, 1, 3.0), (20, 1, 2.0), (30, 2, 1.5)]
    start(tmp_path / 'plain', '20260101_000000', plain, [(1, 50.0), (2, 60.0)])
    resumed = tmp_path / 'resumed'
    first = [(10, 1, 3.5), (30, 2, 2.5), (50, 3, 7.0), (70, 4, 8.0)]
    start(resumed, '20260102_100000', first, [(1, 40.0), (2, 45.0), (3, 1.0)])
    start(resumed, '20260102_110000', [(50, 3, 1.25), (60, 3, 1.0)], [(3, 55.0)])
    # Testing leaves a folder without scalars.
    (resumed / '20260102_120000').mkdir()
    return tmp_path


def read(path):
    found = {}
    with open(path, newline='') as file:
        for line in csv.DictReader(file):
            points = found.setdefault((line['run'], line['key'], line['unit']), [])
            points.append((int(line['step']), float(line['value'])))
    return found


def test_starts_are_joined_and_the_later_one_wins(runs):
    places = ['--out', runs / 'a.png', '--csv', runs / 'a.csv']
    result = call_tool(TOOL, runs / 'plain', runs / 'resumed', *places)
    assert result.code == 0, result.errors
    assert read(runs / 'a.csv') == {
        ('plain', 'loss', 'iteration'): [(10, 3.0), (20, 2.0), (30, 1.5)],
        ('plain', 'accuracy/top1', 'epoch'): [(1, 50.0), (2, 60.0)],
        ('resumed', 'loss', 'iteration'): [(10, 3.5), (30, 2.5), (50, 1.25), (60, 1.0)],
        ('resumed', 'accuracy/top1', 'epoch'): [(1, 40.0), (2, 45.0), (3, 55.0)],
    }
    assert 'resumed: accuracy/top1 55 at epoch 3' in result.out
    assert picture_size(runs / 'a.png') == (1440, 540)


def test_what_is_drawn_is_what_was_read(runs, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'analysis_tools'))
    import curve_figure
    from run_curves import read_curves

    panels = []
    drawn = curve_figure._draw_panel
    monkeypatch.setattr(
        curve_figure, '_draw_panel', lambda axes, *args: (panels.append(axes), drawn(axes, *args))
    )
    curves = [
        curve
        for name in ('plain', 'resumed')
        for curve in read_curves(str(runs / name), name, ['loss', 'accuracy/top1'])
    ]
    curve_figure.draw(runs / 'a.png', curves)
    loss, accuracy = panels
    assert [line.get_label() for line in loss.lines] == ['plain', 'resumed']
    assert list(loss.lines[1].get_xdata()) == [10, 30, 50, 60]
    assert list(accuracy.lines[1].get_ydata()) == [40.0, 45.0, 55.0]
    assert [text.get_text() for text in accuracy.texts] == ['plain', 'resumed']
    assert loss.lines[0].get_linestyle() != loss.lines[1].get_linestyle()
    assert (loss.get_xlabel(), accuracy.get_xlabel()) == ('iteration', 'epoch')


def test_one_start_and_other_keys(runs):
    places = ['--out', runs / 'a.png', '--csv', runs / 'a.csv']
    one = runs / 'resumed' / '20260102_100000'
    result = call_tool(TOOL, one, '--keys', 'block_loss/1', *places)
    assert result.code == 0, result.errors
    ((name, points),) = read(runs / 'a.csv').items()
    assert name == ('20260102_100000', 'block_loss/1', 'iteration')
    assert points == [(10, 3.5), (30, 2.5), (50, 7.0), (70, 8.0)]
    assert picture_size(runs / 'a.png') == (720, 540)


def test_runs_of_one_name_are_told_apart_by_their_paths(runs):
    start(runs / 'other' / 'plain', '20260101_000000', [(10, 1, 1.0)], [(1, 10.0)])
    places = ['--out', runs / 'a.png', '--csv', runs / 'a.csv', '--keys', 'loss']
    result = call_tool(TOOL, runs / 'plain', runs / 'other' / 'plain', *places)
    assert result.code == 0, result.errors
    names = {run for run, _, _ in read(runs / 'a.csv')}
    assert names == {str(runs / 'plain'), str(runs / 'other' / 'plain')}


def test_training_by_iterations_has_no_epochs(tmp_path):
    folder = start(tmp_path, '20260101_000000', [], [(100, 50.0)])
    backend = LocalVisBackend(save_dir=str(folder / 'vis_data'))
    backend.add_scalars(dict(loss=1.0, iter=50), step=50)
    places = ['--out', tmp_path / 'a.png', '--csv', tmp_path / 'a.csv']
    assert call_tool(TOOL, tmp_path, *places).code == 0
    assert {unit for _, _, unit in read(tmp_path / 'a.csv')} == {'iteration'}


def test_a_last_line_that_was_cut_off_is_left_out(runs):
    path = runs / 'plain' / '20260101_000000' / 'vis_data' / 'scalars.json'
    path.write_text(path.read_text() + '{"loss": 1.0, "st')
    result = call_tool(TOOL, runs / 'plain', '--keys', 'loss', '--out', runs / 'a.png')
    assert result.code == 0, result.errors
    assert 'loss 1.5 at iteration 30' in result.out


@pytest.mark.parametrize(
    ('args', 'named'),
    [
        (['absent'], ['absent', 'existing folder']),
        (['empty'], ['empty', 'scalars.json']),
        (['plain', '--keys', 'los'], ["'los'", 'accuracy/top1', 'loss']),
        (['broken'], ['line 1', 'scalars.json', 'not JSON']),
        (['words'], ["'loss'", 'not a number']),
    ],
)
def test_bad_input_ends_in_one_error(runs, args, named):
    (runs / 'empty').mkdir()
    for name, text in (('broken', 'loss=1\n'), ('words', json.dumps(dict(loss='a', step=1)))):
        (runs / name / '1' / 'vis_data').mkdir(parents=True)
        (runs / name / '1' / 'vis_data' / 'scalars.json').write_text(text)
    result = call_tool(TOOL, runs / args[0], *args[1:], '--out', runs / 'a.png')
    assert_one_error(result, *named)
    assert not (runs / 'a.png').exists()


def test_nothing_is_overwritten(runs):
    (runs / 'a.csv').write_text('kept')
    result = call_tool(TOOL, runs / 'plain', '--out', runs / 'a.png', '--csv', runs / 'a.csv')
    assert_one_error(result, 'a.csv', 'exists already')
    assert (runs / 'a.csv').read_text() == 'kept' and not (runs / 'a.png').exists()
