"""How all pictures look: one palette, sizes, fonts and grid; no display; PNG.

Colours are told apart by colour-blind people and differ in lightness too, so that pictures survive
grey printing; lines have dashes besides. The palette is that of Okabe and Ito (Color Universal
Design, 2008) without its yellow, which is too light on white. Ordered things, such as blocks from
first to last, have the colours of viridis.
"""

from itertools import cycle, islice
from pathlib import Path

from cycler import cycler
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

BLACK, BLUE, VERMILION, SKY, GREEN, ORANGE, PURPLE = PALETTE = (
    *('#000000', '#0072b2', '#d55e00', '#56b4e9'),
    *('#009e73', '#e69f00', '#cc79a7'),
)
#: For pictures of numbers: dark is low, and lightness goes up all the way.
COLOUR_MAP = 'viridis'
# Seven colours and four dashes give 28 pairs before one comes again.
_COUNT = 28
_DASHES = ('-', '--', ':', '-.')
STYLE = {
    'font.size': 9,
    'figure.titlesize': 11,
    'axes.titlesize': 10,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': '0.88',
    'grid.linewidth': 0.6,
    'lines.linewidth': 1.6,
    'lines.markersize': 5,
    'legend.frameon': False,
    'legend.handlelength': 3,
    'image.cmap': COLOUR_MAP,
    'axes.prop_cycle': cycler(
        color=list(islice(cycle(PALETTE), _COUNT)), linestyle=list(islice(cycle(_DASHES), _COUNT))
    ),
}
#: Decorates a function that draws: what it makes has the common style.
in_style = rc_context(STYLE)
# More blocks than this have a colour bar instead of a legend.
_MOST_NAMES = 10


def new_figure(width: float, height: float, dpi: int = 120) -> Figure:
    """An empty figure, its sides in inches, without pyplot, so that it needs no display."""
    return Figure(figsize=(width, height), dpi=dpi, layout='constrained')


def save_png(figure: Figure, path: str | Path, overwrite: bool = False) -> None:
    """Write a figure into a .png file.

    Raises:
        FileExistsError: If it exists, without ``overwrite``.
    """
    with open(path, 'wb' if overwrite else 'xb') as file:
        figure.savefig(file, format='png')


def whole_numbers(axis: Axis) -> None:
    """Put ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def epochs_on_top(axes: Axes, epoch_length: int) -> Axes:
    """Count whole epochs, of so many iterations, at the top of axes that count iterations."""
    ways = (lambda x: x / epoch_length, lambda x: x * epoch_length)
    top = axes.secondary_xaxis('top', ways)
    whole_numbers(top.xaxis)
    top.set_xlabel('epoch')
    return top


def legend_below(figure: Figure, axes: Axes, title: str | None = None) -> None:
    """Name the lines of ``axes`` below the whole, up to four beside each other."""
    handles, names = axes.get_legend_handles_labels()
    where = dict(loc='outside lower center', ncols=min(len(names), 4))
    figure.legend(handles, names, title=title, **where)


def block_colours(count: int) -> list[tuple[float, ...]]:
    """A colour for every block, dark for the first, light for the last."""
    # The last tenth of the colour map is too light on white.
    return [colormaps[COLOUR_MAP](0.9 * k / max(count - 1, 1)) for k in range(count)]


def name_blocks(figure: Figure, axes: list[Axes], count: int) -> None:
    """Say beside all axes which colour of :func:`block_colours` is which of ``count`` blocks.

    In a legend, or a colour bar where there are many.
    """
    if count <= _MOST_NAMES:
        colours = enumerate(block_colours(count))
        lines = [Line2D([], [], color=one, linestyle='-', label=f'block {k}') for k, one in colours]
        figure.legend(handles=lines, loc='outside right upper')
        return
    norm = BoundaryNorm([k - 0.5 for k in range(count + 1)], count)
    colours = ScalarMappable(norm, ListedColormap(block_colours(count)))
    bar = figure.colorbar(colours, ax=axes, label='block', spacing='proportional')
    bar.minorticks_off()
    step = -(-(count - 1) // 10)
    bar.set_ticks(range(0, count, step))
