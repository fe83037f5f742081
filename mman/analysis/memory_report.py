"""A memory plan as Markdown, as CSV and as a picture."""

from collections.abc import Callable, Iterable
from itertools import groupby

from matplotlib.lines import Line2D

from mman.utils.flop_count import multiply_adds

from .baselines import PARTS_NOTE
from .memory_advice import memory_advice
from .memory_plan import MemoryOverview, Variant
from .plots import (
    BLACK,
    BLUE,
    ORANGE,
    SKY,
    in_style,
    new_figure,
    save_png,
    whole_numbers,
)
from .tables import markdown_table, mebibytes, write_csv

MIB, GIB = 2**20, 2**30
NOTE = (
    'Counted are live tensors: workspaces of kernels and what an allocator keeps in reserve come '
    'on top.'
)
HOST_NOTE = (
    'The peak is of the device, host what is kept in its memory besides; "/ BP" is of both '
    'together. Copies between them take time that FLOPs do not show.'
)
DEVICES = {'cuda': 'CUDA allocator', 'cpu': 'live bytes, CPU'}
# Distinct in grey as well: colours differ in lightness, and hatches besides.
STYLES = {
    'parameters': dict(facecolor=BLUE, hatch='///'),
    'gradients': dict(facecolor=ORANGE, hatch='xxx'),
    'optimizer': dict(facecolor=SKY, hatch='...'),
    'buffers': dict(facecolor=BLACK, hatch=''),
    'activations': dict(facecolor='#f1f4f7', hatch=''),
}
# A budget beyond so many times the longest bar would leave the bars no room.
FARTHEST_LINE = 2


def memory_text(overview: MemoryOverview) -> str:
    """What to do, both tables and all notes."""
    tables = f'{peak_table(overview)}\n\n{block_table(overview)}\n'
    notes = [NOTE, HOST_NOTE, PARTS_NOTE, *overview.notes]
    return '\n'.join([f'{memory_advice(overview)}\n', tables, *notes])


def fits(row: Variant, budget: float) -> str:
    """'yes' or 'no': whether the predicted peak is within ``budget`` GiB."""
    return 'yes' if row.report.peak <= budget * GIB else 'no'


def peak_table(overview: MemoryOverview) -> str:
    """The rows as a Markdown table, a line on what it shows above it."""
    table = markdown_table([_cells(row, overview) for row in overview.rows])
    size = overview.batch_size
    return f'Predicted peak of a training iteration, batch size {size}, in MiB:\n\n{table}'


def _cells(row: Variant, overview: MemoryOverview) -> dict[str, str]:
    report, bp, measured = row.report, overview.bp, row.measured
    cells = {
        'training': row.name,
        'peak': mebibytes(report.peak),
        'host': mebibytes(report.host),
        '/ BP': f'{row.total / bp.total:.3f}' if bp else '-',
        **{kind: mebibytes(size) for kind, size in row.breakdown().items()},
        'multiply-adds / BP': f'{row.flops / bp.flops:.3f}' if bp else '-',
    }
    if overview.budget is not None:
        cells[f'fits {overview.budget:g} GiB'] = fits(row, overview.budget)
    if overview.device is not None:
        name = f'measured ({DEVICES[overview.device]})'
        cells[name] = mebibytes(measured) if measured else 'out of memory'
        # Relative to what was measured.
        cells['predicted - measured'] = f'{report.peak / measured - 1:+.1%}' if measured else '-'
    return cells


def block_table(overview: MemoryOverview) -> str:
    """The blocks of the user's own config as a Markdown table.

    Neighbours that look the same are one line.
    """
    row = overview.config
    blocks, ends = row.report.blocks, row.report.ends
    cells = [tuple(map(mebibytes, (b.activations, b.gradients, b.peak))) for b in blocks]
    lines = []
    for values, group in groupby(range(len(blocks)), key=cells.__getitem__):
        first, *_, last = [*group] * 2
        names = [str(first), ends[first]]
        if last != first:
            names = [f'{first} - {last}', f'{ends[first]} - {ends[last]}']
        headings = ('block', 'last unit', 'activations', 'gradients', 'peak')
        lines.append(dict(zip(headings, (*names, *values), strict=True)))
    return f'Peak by block of {row.name}, in MiB:\n\n{markdown_table(lines)}'


def write_memory(path: str, overview: MemoryOverview) -> None:
    """Write raw bytes as CSV, into a new file: a line for every row, then one for each block."""
    lines = []
    for row in overview.rows:
        report = row.report
        same = dict(training=row.name, num_blocks=len(report.blocks), recompute=row.recompute)
        same |= dict(batch_size=overview.batch_size, parts=row.parts)
        total = same | dict(block='all', end='', peak=report.peak, host=report.host)
        total |= row.breakdown() | dict(multiply_adds=multiply_adds(row.flops))
        if overview.budget is not None:
            total |= dict(budget=round(overview.budget * GIB), fits=fits(row, overview.budget))
        if overview.device is not None:
            total |= dict(measured=row.measured, measured_by=DEVICES[overview.device])
        lines.append(total)
        for k, (block, end) in enumerate(zip(report.blocks, report.ends, strict=True)):
            one = dict(block=k, end=end, peak=block.peak, host=block.host)
            lines.append(same | one | row.breakdown(k))
    write_csv(path, lines)


@in_style
def draw_memory(path: str, overview: MemoryOverview, title: str) -> None:
    """Write stacked bars: peaks of all rows, and those of the config's blocks.

    A budget is marked by a line. The picture is a new .png file of 1560 x 660 pixels.
    """
    rows, config, budget = overview.rows, overview.config, overview.budget
    largest = max(row.report.peak for row in rows)
    unit, size = ('GiB', GIB) if largest >= 4 * GIB else ('MiB', MIB)
    figure = new_figure(13, 5.5)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _stack(left.barh, 'left', [row.breakdown() for row in rows], size)
    left.set_yticks(range(len(rows)), [row.name for row in rows])
    left.invert_yaxis()
    # Beside the bars a total would lie under the line of a budget at times.
    totals = left.secondary_yaxis('right')
    digits = 2 if size == GIB else 1
    peaks = [f'{row.report.peak / size:,.{digits}f}' for row in rows]
    totals.set_yticks(range(len(rows)), peaks)
    left.set(xlabel=f'predicted peak of an iteration [{unit}]', title='what could be trained')
    blocks = range(len(config.report.blocks))
    _stack(right.bar, 'bottom', [config.breakdown(k) for k in blocks], size)
    whole_numbers(right.xaxis)
    right.set(xlabel='block', ylabel=f'predicted peak of the block [{unit}]')
    right.set_title(f'by block, {config.name}')
    handles = left.get_legend_handles_labels()[0]
    if budget is not None:
        line = dict(color='black', linestyle='--')
        for mark, peak in ((left.axvline, largest), (right.axhline, config.report.peak)):
            if budget * GIB <= FARTHEST_LINE * peak:
                mark(budget * GIB / size, **line)
        handles.append(Line2D([], [], label=f'budget, {budget:g} GiB', **line))
    figure.legend(handles=handles, loc='outside lower center', ncols=len(handles))
    figure.suptitle(title)
    save_png(figure, path)


def _stack(bars: Callable, start: str, breakdowns: Iterable[dict[str, int]], size: int) -> None:
    """Draw bars of bytes by kind, each kind from where the one before ends."""
    breakdowns = list(breakdowns)
    starts = [0.0] * len(breakdowns)
    for kind, style in STYLES.items():
        lengths = [one[kind] / size for one in breakdowns]
        style = dict(edgecolor='black', linewidth=0.4, label=kind, **style)
        bars(range(len(starts)), lengths, **{start: starts}, **style)
        starts = [a + b for a, b in zip(starts, lengths, strict=True)]
