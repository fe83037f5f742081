"""A matrix of CKA as a picture and as CSV."""

import csv
from collections.abc import Sequence

from cka_matrix import Side
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INCHES, DPI = (7, 6), 120
# More numbers than so many in a row would not fit.
MOST_NUMBERS = 16


def write_csv(path: str, matrix: Sequence[Sequence[float]], first: Side, second: Side) -> None:
    """Write a line for every pair of blocks.

    Args:
        path (str): A new file.
        matrix (Sequence[Sequence[float]]): CKA, (K1, K2).
        first (Side): The model of the rows.
        second (Side): The model of the columns.
    """
    with open(path, 'x', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(('model', 'block', 'end', 'other_model', 'other_block', 'other_end', 'cka'))
        for i, row in enumerate(matrix):
            for j, value in enumerate(row):
                other = (second.name, j, second.ends[j])
                writer.writerow((first.name, i, first.ends[i], *other, value))


def draw(
    path: str, matrix: Sequence[Sequence[float]], first: Side, second: Side, title: str
) -> None:
    """Write a heat map in grey, dark where CKA is high, block 0 at the lower left.

    Args:
        path (str): A new .png file, 840 x 720 pixels.
        matrix (Sequence[Sequence[float]]): CKA, (K1, K2).
        first (Side): The model of the rows.
        second (Side): The model of the columns.
        title (str): Above the whole.
    """
    # A Figure without pyplot draws without a display.
    figure = Figure(figsize=INCHES, dpi=DPI, layout='constrained')
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap='gray_r', vmin=0, vmax=1, origin='lower')
    figure.colorbar(image, ax=axes, label='CKA')
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylabel(f'block of {first.name}')
    axes.set_xlabel(f'block of {second.name}')
    axes.set_title(title)
    if max(len(matrix), len(matrix[0])) <= MOST_NUMBERS:
        _write_numbers(axes, matrix)
    with open(path, 'xb') as file:
        figure.savefig(file, format='png')


def _write_numbers(axes: Axes, matrix: Sequence[Sequence[float]]) -> None:
    """The values, in white on dark cells."""
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            style = dict(color='white' if value > 0.5 else 'black', ha='center', va='center')
            axes.text(j, i, f'{value:.2f}', fontsize=7, **style)
