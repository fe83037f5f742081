"""Losses of blocks over training as a picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INCHES, DPI = (8, 5), 120


def draw(path: str, records: Sequence[dict], title: str) -> None:
    """Write a heat map in grey, dark where a loss is high; block 0 is at the bottom.

    A record is drawn over the iterations that its means are of. Hatched is what
    is not finite.

    Args:
        path (str): A new .png file, 960 x 600 pixels.
        records (Sequence[dict]): ``iter``, going up, and ``losses``, K of them.
        title (str): Above the whole.
    """
    losses = np.array([one['losses'] for one in records], dtype=float).T
    # A Figure without pyplot draws without a display.
    figure = Figure(figsize=INCHES, dpi=DPI, layout='constrained')
    axes = figure.subplots()
    axes.patch.set(facecolor='white', hatch='xxx', edgecolor='0.5')
    places = np.arange(len(losses) + 1) - 0.5
    cells = np.ma.masked_invalid(losses)
    image = axes.pcolormesh(edges([one['iter'] for one in records]), places, cells, cmap='gray_r')
    figure.colorbar(image, ax=axes, label='loss')
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel('iteration')
    axes.set_ylabel('block')
    axes.set_title(title)
    with open(path, 'xb') as file:
        figure.savefig(file, format='png')


def edges(iterations: Sequence[int]) -> list[int]:
    """Where the records begin and end; the first is as long as the second.

    Args:
        iterations (Sequence[int]): Their ends, going up.
    """
    first, *later = iterations
    length = later[0] - first if later else first
    return [max(first - length, 0), *iterations]
