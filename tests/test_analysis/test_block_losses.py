"""mman.analysis.block_losses on records with known numbers."""

import json
import math

import matplotlib.axes
import pytest

from mman.analysis.block_losses import draw_losses, edges, read_losses, write_losses
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


def test_the_numbers(run, tmp_path, monkeypatch):
    plain, drawn = matplotlib.axes.Axes.pcolormesh, []
    monkeypatch.setattr(
        matplotlib.axes.Axes, 'pcolormesh', lambda *a, **k: drawn.append(a[1:]) or plain(*a, **k)
    )
    records = read_losses(str(run))
    write_losses(tmp_path / 'a.csv', records)
    lines = [[float(cell) for cell in line.values()] for line in csv_rows(tmp_path / 'a.csv')]
    assert lines[0] == [1, 10, 3, 2, 1]
    assert lines[1][:3] == [1, 20, 2.5] and math.isnan(lines[1][3])
    assert lines[2:] == [[2, 30, 2, 1.5, 0.25], [3, 45, 1, 1, 0.125]]
    draw_losses(tmp_path / 'a.png', records, 'run')
    borders, places, cells = drawn[0]  # The colorbar comes after it.
    # Records are means up to their iteration.
    assert list(borders) == [0, 10, 20, 30, 45]
    assert list(places) == [-0.5, 0.5, 1.5, 2.5]
    assert cells[0].tolist() == [3, 2.5, 2, 1]
    assert cells[1].tolist() == [2, None, 1.5, 1]
    assert picture_size(tmp_path / 'a.png') == (960, 600)


def test_edges():
    assert edges([100]) == [0, 100]
    # The folder of a resumed start: its first record is no longer than the others.
    assert edges([150, 200, 230]) == [100, 150, 200, 230]
    assert edges([5, 25]) == [0, 5, 25]


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
