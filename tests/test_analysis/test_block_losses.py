"""mman.analysis.block_losses on records with known numbers."""

import json
import math

import pytest
from matplotlib.colors import to_rgb

from mman.analysis import block_losses
from mman.analysis.block_losses import (
    draw_losses,
    epoch_length,
    loss_panels,
    read_losses,
    write_losses,
)
from mman.analysis.plots import save_png as save
from mman.utils import UserError
from tests.helpers.look_inside import picture_size
from tests.helpers.tables import csv_rows


def start(folder, time, *records):
    (folder / time).mkdir(parents=True)
    lines = [json.dumps(dict(epoch=e, iter=i, losses=losses)) + '\n' for e, i, losses in records]
    (folder / time / 'block_losses.jsonl').write_text(''.join(lines))


@pytest.fixture
def run(tmp_path):
    """Three blocks; the second start repeats iteration 30."""
    folder = tmp_path / 'run'
    first = [(1, 10, [3, 2, 1]), (1, 20, [2.5, None, 0.5]), (2, 30, [9, 9, 9])]
    start(folder, '20260101_000000', *first)
    start(folder, '20260101_010000', (2, 30, [2, 1.5, 0.25]), (3, 45, [1, 1, 0.125]))
    return folder


@pytest.fixture
def figures(monkeypatch):
    """The figures that are written."""
    found = []
    monkeypatch.setattr(
        block_losses, 'save_png', lambda figure, path: found.append(figure) or save(figure, path)
    )
    return found


def test_the_numbers(run, tmp_path, figures):
    records = read_losses(str(run))
    write_losses(tmp_path / 'a.csv', records)
    lines = [[float(cell) for cell in line.values()] for line in csv_rows(tmp_path / 'a.csv')]
    assert lines[0] == [1, 10, 3, 2, 1]
    assert lines[1][:3] == [1, 20, 2.5] and math.isnan(lines[1][3])
    assert lines[2:] == [[2, 30, 2, 1.5, 0.25], [3, 45, 1, 1, 0.125]]
    draw_losses(tmp_path / 'a.png', records, 'run')
    assert picture_size(tmp_path / 'a.png') == (960, 600)
    (axes,) = figures[0].axes
    first, second, crosses, third = axes.lines
    assert first.get_xydata().tolist() == [[10, 3], [20, 2.5], [30, 2], [45, 1]]
    assert third.get_ydata().tolist() == [1, 0.5, 0.25, 0.125]
    assert list(crosses.get_xdata()) == [20] and math.isnan(second.get_ydata()[1])
    # In grey, too, blocks go from dark to light.
    greys = [0.3 * r + 0.59 * g + 0.11 * b for r, g, b in map(to_rgb, colours(axes))]
    assert greys == sorted(greys) and greys[0] < 0.2 and greys[-1] > 0.6
    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ['block 0', 'block 1', 'block 2']


def colours(axes):
    return [line.get_color() for line in axes.lines if line.get_marker() != 'x']


def test_two_epochs_of_heads_with_two_losses(tmp_path, figures):
    terms = [dict(loss_reconstruction=[1, None], loss_task=[2, None]) for _ in range(2)]
    lines = [
        json.dumps(dict(epoch=epoch, iter=5 * epoch, losses=[3, 4], terms=one)) + '\n'
        for epoch, one in enumerate(terms, start=1)
    ]
    (tmp_path / 'block_losses.jsonl').write_text(''.join(lines))
    records = read_losses(str(tmp_path))
    # The last block has one loss, that of the task.
    task, reconstruction = loss_panels(records).items()
    assert task == ('task loss, as weighted', {0: [2, 2], 1: [4, 4]})
    assert reconstruction == ('reconstruction loss, as weighted', {0: [1, 1]})
    draw_losses(tmp_path / 'a.png', records, 'run')
    assert picture_size(tmp_path / 'a.png') == (1440, 600)
    left, right = figures[0].axes
    assert [len(left.lines), len(right.lines)] == [2, 1]
    assert left.lines[0].get_color() == right.lines[0].get_color()
    for axes in (left, right):
        (top,) = axes.child_axes
        assert top.get_xlabel() == 'epoch'
        assert all(tick == round(tick) for tick in top.get_xticks())
    write_losses(tmp_path / 'a.csv', records)
    row = csv_rows(tmp_path / 'a.csv')[0]
    assert (row['block0 loss_task'], row['block0 loss_reconstruction']) == ('2', '1')
    assert 'block1 loss_task' not in row


def test_many_blocks_have_a_colour_bar(tmp_path, figures):
    records = [dict(epoch=1, iter=i, losses=[1.0] * 55) for i in (5, 10)]
    draw_losses(tmp_path / 'a.png', records, 'run')
    axes, bar = figures[0].axes
    assert len(axes.lines) == 55 and not figures[0].legends
    assert bar.get_ylabel() == 'block' and len(set(colours(axes))) == 55


@pytest.mark.parametrize(
    ('places', 'length'),
    [
        ([(1, 50), (1, 98), (2, 148), (2, 196)], 98),
        ([(1, 50), (2, 100), (2, 150), (3, 200)], None),  # Records at epochs' ends are missing.
        ([(3, 60), (4, 80)], 20),  # Of one start of a resumed run.
        ([(1, 50), (1, 100)], None),
    ],
)
def test_the_length_of_an_epoch(places, length):
    assert epoch_length([dict(epoch=e, iter=i) for e, i in places]) == length


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('absent', 'absent.*existing folder'),
        ('bare', 'bare.*block_losses.jsonl'),
        ('empty', 'is empty'),
        ('mixed', '2, 3 blocks'),
        ('infinite', 'no finite'),
    ],
)
def test_runs_without_losses(tmp_path, name, message):
    (tmp_path / 'bare').mkdir()
    start(tmp_path / 'empty', 'a')
    start(tmp_path / 'infinite', 'a', (1, 10, [None, None]))
    start(tmp_path / 'mixed', 'a', (1, 10, [1, 2]))
    start(tmp_path / 'mixed', 'b', (1, 20, [1, 2, 3]))
    with pytest.raises(UserError, match=message):
        read_losses(str(tmp_path / name))
