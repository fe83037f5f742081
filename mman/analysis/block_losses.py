"""The loss of every block over training, from a run's block_losses.jsonl."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from mman.engine.hooks import BlockLogHook
from mman.utils.errors import UserError

from .plots import (
    block_colours,
    epochs_on_top,
    in_style,
    name_blocks,
    new_figure,
    save_png,
    whole_numbers,
)
from .run_logs import join, read_starts
from .tables import write_csv

#: The loss that every head has.
TASK = 'loss_task'
# So many records or fewer are marked.
FEW = 12


def read_losses(run: str) -> list[dict]:
    """The records of a run: ``epoch``, ``iter``, ``losses``, maybe ``terms``.

    ``run`` is its work dir, or the folder of one start. Losses are NaN where one was not finite.

    Raises:
        UserError: If there is none, its starts differ in K, or no loss is finite.
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
    """Write a CSV with a line for every record, into a new file.

    A column for every block, and one for each of the losses that it is the sum of.
    """
    rows = (
        dict(epoch=one['epoch'], iter=one['iter'])
        | {f'block{k}': loss for k, loss in enumerate(one['losses'])}
        | {
            f'block{k} {name}': value
            for name, values in one.get('terms', {}).items()
            for k, value in enumerate(values)
            if value is not None
        }
        for one in records
    )
    write_csv(path, rows)


@in_style
def draw_losses(path: str, records: Sequence[dict], title: str) -> None:
    """Write a curve for every block, dark for the first, light for the last.

    Where a head has several losses, each has a panel: task and reconstruction, for
    instance. Crosses at the top are where a loss was not finite. The picture is a new
    .png file of 960 x 600 pixels, 480 more of width for a second panel and each further.
    """
    panels = loss_panels(records)
    figure = new_figure(8 + 4 * (len(panels) - 1), 5)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    count = len(records[0]['losses'])
    for axes, (name, curves) in zip(grid, panels.items(), strict=True):
        for k, colour in enumerate(block_colours(count)):
            if k in curves:
                _draw_block(axes, records, curves[k], colour)
        axes.set(title=name, xlabel='iteration', xlim=(0, records[-1]['iter'] * 1.02))
        axes.set_ylabel('training loss, mean since the record before')
        whole_numbers(axes.xaxis)
        if length := epoch_length(records):
            epochs_on_top(axes, length)
    name_blocks(figure, list(grid), count)
    figure.suptitle(title)
    save_png(figure, path)


def loss_panels(records: Sequence[dict]) -> dict[str, dict[int, list[float]]]:
    """By panel and block, a value for every record, NaN where it was not finite.

    Without heads of several losses there is one panel. A block whose loss is
    one alone is in the panel of the task, or else in that of the whole.
    """
    names = list(dict.fromkeys(name for one in records for name in one.get('terms', {})))
    whole = {k: [one['losses'][k] for one in records] for k in range(len(records[0]['losses']))}
    if not names:
        return {'loss of every block': whole}
    names.sort(key=lambda name: name != TASK)
    panels = {_panel(name): _term(records, name) for name in names}
    several = {k for curves in panels.values() for k in curves}
    alone = {k: values for k, values in whole.items() if k not in several}
    if alone:
        panels.setdefault(_panel(TASK), {}).update(alone)
    return panels


def _panel(name: str) -> str:
    return f'{name.removeprefix("loss_")} loss, as weighted'


def _term(records: Sequence[dict], name: str) -> dict[int, list[float]]:
    """One loss by block, of the blocks that have it."""
    rows = [one.get('terms', {}).get(name, [None] * len(one['losses'])) for one in records]
    columns = enumerate(zip(*rows, strict=True))
    return {
        k: [math.nan if value is None else value for value in values]
        for k, values in columns
        if any(value is not None for value in values)
    }


def _draw_block(
    axes: Axes, records: Sequence[dict], values: Sequence[float], colour: tuple
) -> None:
    steps = [one['iter'] for one in records]
    look = dict(color=colour, linestyle='-')
    # Few points would be hard to see on a line alone.
    axes.plot(steps, values, marker='o' if len(steps) <= FEW else None, **look)
    lost = [step for step, value in zip(steps, values, strict=True) if math.isnan(value)]
    if lost:
        look = dict(color=colour, marker='x', linestyle='', transform=axes.get_xaxis_transform())
        axes.plot(lost, [0.98] * len(lost), **look)


def epoch_length(records: Sequence[dict]) -> int | None:
    """Iterations of an epoch, None if there are no epochs or the records do not tell."""
    first = records[0]['epoch']
    length = max(one['iter'] for one in records if one['epoch'] == first) // first
    # Old records may have none at an epoch's end; a loop over iterations has one epoch alone.
    fits = all(math.ceil(one['iter'] / length) == one['epoch'] for one in records)
    return length if fits and records[-1]['epoch'] > first else None
