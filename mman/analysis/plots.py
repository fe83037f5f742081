"""What all pictures share: grey, no display, PNG."""

from itertools import product
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

#: Styles of lines, told apart without colours: first by dashes, then by grey.
LINES = [
    dict(linestyle=line, color=grey)
    for grey, line in product(('black', '0.6'), ('-', '--', ':', '-.'))
]


def new_figure(width: float, height: float, dpi: int = 120) -> Figure:
    """An empty figure, without pyplot, so that it needs no display.

    Args:
        width (float): In inches.
        height (float): In inches.
        dpi (int): Pixels an inch. Defaults to 120.
    """
    return Figure(figsize=(width, height), dpi=dpi, layout='constrained')


def save_png(figure: Figure, path: str | Path, overwrite: bool = False) -> None:
    """Write a figure.

    Args:
        figure (Figure): The figure.
        path (str | Path): A .png file.
        overwrite (bool): Whether it may exist. Defaults to False.

    Raises:
        FileExistsError: If it exists and must not.
    """
    with open(path, 'wb' if overwrite else 'xb') as file:
        figure.savefig(file, format='png')


def whole_numbers(axis: Axis) -> None:
    """Put ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def legend_below(figure: Figure, axes: Axes) -> None:
    """Name the lines of ``axes`` below the whole, up to four beside each other."""
    handles, names = axes.get_legend_handles_labels()
    where = dict(loc='outside lower center', ncols=min(len(names), 4), handlelength=4)
    figure.legend(handles, names, frameon=False, **where)
