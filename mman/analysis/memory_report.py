"""A memory plan as Markdown, as CSV and as a picture."""

from collections.abc import Sequence
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .memory_plan import MemoryOverview, VariantMemory
from .plots import new_figure, save_png, whole_numbers
from .tables import markdown_table, mebibytes, write_csv

MIB, GIB = 2**20, 2**30
NOTE = (
    'Counted are live tensors: workspaces of kernels and what an allocator keeps in reserve come '
    'on top.'
)
DEVICES = {'cuda': 'CUDA allocator', 'cpu': 'live bytes, CPU'}
FIELDS = (
    *('training', 'num_blocks', 'recompute', 'batch_size', 'block', 'end', 'peak'),
    *('parameters', 'gradients', 'optimizer', 'buffers', 'activations'),
    *('flops', 'budget', 'fits', 'measured', 'measured_by'),
)
# Distinct in grey as well: colours differ in lightness, and hatches besides.
STYLES = {
    'parameters': dict(facecolor='#6f9fcf', hatch='///'),
    'gradients': dict(facecolor='#f0a060', hatch='xxx'),
    'optimizer': dict(facecolor='#c3d9ec', hatch='...'),
    'buffers': dict(facecolor='#333333', hatch=''),
    'activations': dict(facecolor='#f1f4f7', hatch=''),
}
EDGE = dict(edgecolor='black', linewidth=0.4)
LINE = dict(color='black', linestyle='--')
# A budget beyond so many times the longest bar would leave the bars no room.
FARTHEST_LINE = 2


def memory_text(overview: MemoryOverview) -> str:
    """Both tables and all notes."""
    tables = f'{peak_table(overview)}\n\n{block_table(overview)}\n'
    return '\n'.join([tables, NOTE, *overview.notes])


def fits(row: VariantMemory, budget: float) -> str:
    """'yes' or 'no': whether the predicted peak is within ``budget`` GiB."""
    return 'yes' if row.report.peak <= budget * GIB else 'no'


def peak_table(overview: MemoryOverview) -> str:
    """The rows as a Markdown table, a line on what it shows above it."""
    rows, bp = overview.rows, overview.bp
    columns = {
        'training': [row.name for row in rows],
        'peak': [mebibytes(row.report.peak) for row in rows],
        '/ BP': [_ratio(row.report.peak, bp and bp.report.peak) for row in rows],
    }
    for kind in STYLES:
        columns[kind] = [mebibytes(row.breakdown()[kind]) for row in rows]
    columns['FLOPs / BP'] = [_ratio(row.report.flops, bp and bp.report.flops) for row in rows]
    if overview.budget is not None:
        columns[f'fits {overview.budget:g} GiB'] = [fits(row, overview.budget) for row in rows]
    if overview.device is not None:
        columns[f'measured ({DEVICES[overview.device]})'] = [
            'out of memory' if row.measured is None else mebibytes(row.measured) for row in rows
        ]
        columns['predicted - measured'] = [_difference(row) for row in rows]
    table = markdown_table(list(columns), zip(*columns.values(), strict=True))
    size = overview.batch_size
    return f'Predicted peak of a training iteration, batch size {size}, in MiB:\n\n{table}'


def block_table(overview: MemoryOverview) -> str:
    """The blocks of the user's own config as a Markdown table.

    Neighbours that look the same are one line.
    """
    row = overview.config
    cells = [tuple(map(mebibytes, (b.activations, b.gradients, b.peak))) for b in row.report.blocks]
    lines = []
    for values, group in groupby(range(row.num_blocks), key=cells.__getitem__):
        first, *_, last = [*group] * 2
        ends = _span(row.report.ends[first], row.report.ends[last])
        lines.append((_span(first, last), ends, *values))
    names = ('block', 'last unit', 'activations', 'gradients', 'peak')
    return f'Peak by block of {row.name}, in MiB:\n\n{markdown_table(names, lines)}'


def write_memory(path: str, overview: MemoryOverview) -> None:
    """Write raw bytes as CSV: a line for every row, then one for each of its blocks.

    Args:
        path (str): A new file.
        overview (MemoryOverview): The rows.
    """
    lines = []
    for row in overview.rows:
        same = dict(
            training=row.name,
            num_blocks=row.num_blocks,
            recompute=row.recompute,
            batch_size=overview.batch_size,
        )
        total = dict(block='all', peak=row.report.peak, flops=row.report.flops)
        if overview.budget is not None:
            total |= dict(budget=round(overview.budget * GIB), fits=fits(row, overview.budget))
        if overview.device is not None:
            total |= dict(measured=row.measured, measured_by=DEVICES[overview.device])
        lines.append(same | total | row.breakdown())
        for k, block in enumerate(row.report.blocks):
            one = dict(block=k, end=row.report.ends[k], peak=block.peak)
            lines.append(same | one | row.breakdown(k))
    write_csv(path, FIELDS, lines)


def draw_memory(path: str, overview: MemoryOverview, title: str) -> None:
    """Write stacked bars: peaks of all rows, and those of the config's blocks.

    Args:
        path (str): A new .png file, 1560 x 660 pixels.
        overview (MemoryOverview): The rows; a budget is marked by a line.
        title (str): Above the whole.
    """
    rows, config, budget = overview.rows, overview.config, overview.budget
    largest = max(row.report.peak for row in rows)
    unit, size = ('GiB', GIB) if largest >= 4 * GIB else ('MiB', MIB)
    figure = new_figure(13, 5.5)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.06)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_rows(left, rows, size)
    _draw_blocks(right, config, size)
    left.set_xlabel(f'predicted peak of an iteration [{unit}]')
    right.set_ylabel(f'predicted peak of the block [{unit}]')
    handles = left.get_legend_handles_labels()[0]
    if budget is not None:
        near = budget * GIB <= FARTHEST_LINE * largest
        if near:
            left.axvline(budget * GIB / size, **LINE)
        if budget * GIB <= FARTHEST_LINE * config.report.peak:
            right.axhline(budget * GIB / size, **LINE)
        label = f'budget, {budget:g} GiB' + ('' if near else ' (beyond the axes)')
        handles.append(Line2D([], [], label=label, **LINE))
    figure.legend(handles=handles, loc='outside lower center', ncols=len(handles), frameon=False)
    figure.suptitle(title)
    save_png(figure, path)


def _draw_rows(axes: Axes, rows: Sequence[VariantMemory], size: int) -> None:
    """A bar across for every row, with its total at the right edge."""
    places = range(len(rows))
    starts = [0.0] * len(rows)
    for kind, style in STYLES.items():
        widths = [row.breakdown()[kind] / size for row in rows]
        axes.barh(places, widths, left=starts, label=kind, **style, **EDGE)
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    axes.set_yticks(places, [row.name for row in rows])
    axes.invert_yaxis()
    # Beside the bars a total would lie under the line of a budget at times.
    digits = 2 if size == GIB else 1
    totals = axes.secondary_yaxis('right')
    totals.set_yticks(places, [f'{total:,.{digits}f}' for total in starts])
    totals.tick_params(length=0)
    axes.set_title('what could be trained')


def _draw_blocks(axes: Axes, row: VariantMemory, size: int) -> None:
    """A bar upwards for every block of a row."""
    places = range(row.num_blocks)
    starts = [0.0] * row.num_blocks
    for kind, style in STYLES.items():
        heights = [row.breakdown(k)[kind] / size for k in places]
        axes.bar(places, heights, bottom=starts, **style, **EDGE)
        starts = [start + height for start, height in zip(starts, heights, strict=True)]
    axes.set_xlim(-0.8, row.num_blocks - 0.2)
    whole_numbers(axes.xaxis, steps=[1, 2, 5, 10])
    axes.set_xlabel('block')
    axes.set_title(f'by block, {row.name}')


def _ratio(value: int, of: int | None) -> str:
    return f'{value / of:.3f}' if of else '-'


def _difference(row: VariantMemory) -> str:
    """Relative to what was measured."""
    return f'{row.report.peak / row.measured - 1:+.1%}' if row.measured else '-'


def _span(first, last) -> str:
    return str(first) if first == last else f'{first} - {last}'
