"""mman.analysis.training_curves on logs with known numbers."""

import json

import pytest
from mmengine.visualization import LocalVisBackend

from mman.analysis import training_curves
from mman.analysis.plots import save_png as save
from mman.analysis.training_curves import (
    curve_text,
    draw_curves,
    meaning,
    read_curves,
    write_curves,
)
from mman.utils import UserError
from tests.helpers.look_inside import picture_size
from tests.helpers.tables import csv_rows


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


def points(curves):
    return {(c.run, c.key, c.unit): list(zip(c.steps, c.values, strict=True)) for c in curves}


def test_starts_are_joined_and_the_later_one_wins(runs):
    curves = read_curves([str(runs / 'plain'), str(runs / 'resumed')])
    expected = {
        ('plain', 'loss', 'iteration'): [(10, 3.0), (20, 2.0), (30, 1.5)],
        ('plain', 'accuracy/top1', 'epoch'): [(1, 50.0), (2, 60.0)],
        ('resumed', 'loss', 'iteration'): [(10, 3.5), (30, 2.5), (50, 1.25), (60, 1.0)],
        ('resumed', 'accuracy/top1', 'epoch'): [(1, 40.0), (2, 45.0), (3, 55.0)],
    }
    assert points(curves) == expected
    write_curves(runs / 'a.csv', curves)
    lines = [tuple(line.values()) for line in csv_rows(runs / 'a.csv')]
    assert lines == [
        (*key, str(step), str(value)) for key, found in expected.items() for step, value in found
    ]
    assert 'resumed: accuracy/top1 55 at epoch 3' in curve_text(curves)


def test_what_is_drawn_is_what_was_read(runs, monkeypatch):
    figures = []
    monkeypatch.setattr(
        training_curves,
        'save_png',
        lambda figure, path: figures.append(figure) or save(figure, path),
    )
    draw_curves(runs / 'a.png', read_curves([str(runs / 'plain'), str(runs / 'resumed')]))
    assert picture_size(runs / 'a.png') == (1440, 540)
    loss, accuracy = figures[0].axes
    assert [line.get_label() for line in loss.lines] == ['plain', 'resumed']
    assert list(loss.lines[1].get_xdata()) == [10, 30, 50, 60]
    assert list(accuracy.lines[1].get_ydata()) == [40.0, 45.0, 55.0]
    assert loss.lines[0].get_linestyle() != loss.lines[1].get_linestyle()
    assert (loss.get_xlabel(), accuracy.get_xlabel()) == ('iteration', 'epoch')
    assert accuracy.get_ylabel() == 'validation accuracy, top-1 [%]'
    assert loss.get_ylabel() == "training loss of the network's own head"
    assert loss.lines[0].get_color() != loss.lines[1].get_color()
    (legend,) = figures[0].legends
    assert legend.get_title().get_text() == 'run'


def test_what_keys_mean():
    assert meaning('block_loss/3') == 'training loss of block 3'
    assert meaning('something') == 'something'


def test_one_start_and_other_keys(runs):
    one = str(runs / 'resumed' / '20260102_100000')
    ((name, found),) = points(read_curves([one], ['block_loss/1'])).items()
    assert name == ('20260102_100000', 'block_loss/1', 'iteration')
    assert found == [(10, 3.5), (30, 2.5), (50, 7.0), (70, 8.0)]


def test_runs_of_one_name_are_told_apart_by_their_paths(runs):
    start(runs / 'other' / 'plain', '20260101_000000', [(10, 1, 1.0)], [(1, 10.0)])
    both = [str(runs / 'plain'), str(runs / 'other' / 'plain')]
    assert [curve.run for curve in read_curves(both, ['loss'])] == both


def test_training_by_iterations_has_no_epochs(tmp_path):
    folder = start(tmp_path, '20260101_000000', [], [(100, 50.0)])
    backend = LocalVisBackend(save_dir=str(folder / 'vis_data'))
    backend.add_scalars(dict(loss=1.0, iter=50), step=50)
    assert {curve.unit for curve in read_curves([str(tmp_path)])} == {'iteration'}


def test_a_last_line_that_was_cut_off_is_left_out(runs):
    path = runs / 'plain' / '20260101_000000' / 'vis_data' / 'scalars.json'
    path.write_text(path.read_text() + '{"loss": 1.0, "st')
    assert read_curves([str(runs / 'plain')], ['loss'])[0].values[-1] == 1.5


@pytest.mark.parametrize(
    ('name', 'key', 'message'),
    [
        ('absent', 'loss', 'absent.*existing folder'),
        ('empty', 'loss', 'empty.*scalars.json'),
        ('plain', 'los', "'los'.*accuracy/top1.*loss"),
        ('broken', 'loss', 'line 1.*scalars.json.*not JSON'),
        ('words', 'loss', "'loss'.*not a number"),
    ],
)
def test_runs_without_curves(runs, name, key, message):
    (runs / 'empty').mkdir()
    for other, text in (('broken', 'loss=1\n'), ('words', json.dumps(dict(loss='a', step=1)))):
        (runs / other / '1' / 'vis_data').mkdir(parents=True)
        (runs / other / '1' / 'vis_data' / 'scalars.json').write_text(text)
    with pytest.raises(UserError, match=message):
        read_curves([str(runs / name)], [key])
