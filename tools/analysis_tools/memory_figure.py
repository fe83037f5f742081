"""A memory plan as a picture."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from memory_rows import Row, find_config
from memory_table import GIB, MIB

INCHES, DPI = (13, 5.5), 120
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


def draw(path: str, rows: Sequence[Row], title: str, budget: float | None) -> None:
    """Write stacked bars: peaks of all rows, and those of the config's blocks.

    Args:
        path (str): A new .png file, 1560 x 660 pixels.
        rows (Sequence[Row]): The rows.
        title (str): Above the whole.
        budget (float | None): GiB to mark by a line, None for no line.
    """
    largest = max(row.report.peak for row in rows)
    unit, size = ('GiB', GIB) if largest >= 4 * GIB else ('MiB', MIB)
    config = find_config(rows)
    # A Figure without pyplot draws without a display.
    figure = Figure(figsize=INCHES, dpi=DPI, layout='constrained')
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
    with open(path, 'xb') as file:
        figure.savefig(file, format='png')


def _draw_rows(axes: Axes, rows: Sequence[Row], size: int) -> None:
    """A bar across for every row, with its total at the right edge."""
    places = range(len(rows))
    starts = [0.0] * len(rows)
    for part, style in STYLES.items():
        widths = [row.parts()[part] / size for row in rows]
        axes.barh(places, widths, left=starts, label=part, **style, **EDGE)
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    axes.set_yticks(places, [row.name for row in rows])
    axes.invert_yaxis()
    # Beside the bars a total would lie under the line of a budget at times.
    digits = 2 if size == GIB else 1
    totals = axes.secondary_yaxis('right')
    totals.set_yticks(places, [f'{total:,.{digits}f}' for total in starts])
    totals.tick_params(length=0)
    axes.set_title('what could be trained')


def _draw_blocks(axes: Axes, row: Row, size: int) -> None:
    """A bar upwards for every block of a row."""
    places = range(row.num_blocks)
    starts = [0.0] * row.num_blocks
    for part, style in STYLES.items():
        heights = [row.parts(k)[part] / size for k in places]
        axes.bar(places, heights, bottom=starts, **style, **EDGE)
        starts = [start + height for start, height in zip(starts, heights, strict=True)]
    axes.set_xlim(-0.8, row.num_blocks - 0.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.set_xlabel('block')
    axes.set_title(f'by block, {row.name}')
