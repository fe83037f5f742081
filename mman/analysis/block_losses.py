"""The loss of every block over training, from a run's block_losses.jsonl."""

import math
from collections.abc import Sequence

import numpy as np

from mman.engine.hooks import BlockLogHook
from mman.utils.errors import UserError

from .plots import new_figure, save_png, whole_numbers
from .run_logs import join, read_starts
from .tables import write_csv


def read_losses(run: str) -> list[dict]:
    """The records of a run: ``epoch``, ``iter`` and ``losses``, NaN where one was not finite.

    Args:
        run (str): Its work dir, or the folder of one start.

    Raises:
        UserError: If there is none, its starts differ in K, or no loss is
            finite.
    """
    records = join(read_starts(run, BlockLogHook.filename), 'iter')
    if not records:
        raise UserError(f'{BlockLogHook.filename} of run {run!r} is empty')
    counts = sorted({len(one['losses']) for one in records})
    if len(counts) > 1:
        numbers = ', '.join(map(str, counts))
        raise UserError(f'the starts of run {run!r} have {numbers} blocks; give one of its folders')
    for one in records:
        one['losses'] = [math.nan if loss is None else loss for loss in one['losses']]
    if not any(math.isfinite(loss) for one in records for loss in one['losses']):
        raise UserError(f'run {run!r} has no finite block loss')
    return records


def write_losses(path: str, records: Sequence[dict]) -> None:
    """Write a CSV with a line for every record and a column for every block, into a new file."""
    rows = (
        dict(epoch=one['epoch'], iter=one['iter'])
        | {f'block{k}': loss for k, loss in enumerate(one['losses'])}
        for one in records
    )
    write_csv(path, rows)


def draw_losses(path: str, records: Sequence[dict], title: str) -> None:
    """Write a heat map in grey, dark where a loss is high; block 0 is at the bottom.

    A record is drawn over the iterations that its means are of. Hatched is what
    is not finite. The picture is a new .png file of 960 x 600 pixels.
    """
    losses = np.array([one['losses'] for one in records], dtype=float).T
    figure = new_figure(8, 5)
    axes = figure.subplots()
    axes.patch.set(facecolor='white', hatch='xxx', edgecolor='0.5')
    places = np.arange(len(losses) + 1) - 0.5
    cells = np.ma.masked_invalid(losses)
    image = axes.pcolormesh(edges([one['iter'] for one in records]), places, cells, cmap='gray_r')
    figure.colorbar(image, ax=axes, label='loss')
    whole_numbers(axes.yaxis)
    axes.set(xlabel='iteration', ylabel='block', title=title)
    save_png(figure, path)


def edges(iterations: Sequence[int]) -> list[int]:
    """Where the records begin and end; the first is as long as the second.

    Args:
        iterations (Sequence[int]): Their ends, going up.
    """
    first, *later = iterations
    length = later[0] - first if later else first
    return [max(first - length, 0), *iterations]
