"""Curves of trainings as a picture."""

from collections.abc import Sequence
from itertools import product

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from run_curves import Curve

INCHES, DPI = (6, 4.5), 120
# Told apart without colours: first by dashes, then by grey.
STYLES = [
    dict(linestyle=line, color=grey)
    for grey, line in product(('black', '0.6'), ('-', '--', ':', '-.'))
]


def draw(path: str, curves: Sequence[Curve]) -> None:
    """Write a panel for every key, with a line for every run and its name at the end of it.

    Args:
        path (str): A new .png file, 720 x 540 pixels a panel.
        curves (Sequence[Curve]): The curves, all runs with the same keys.
    """
    keys = list(dict.fromkeys(curve.key for curve in curves))
    runs = list(dict.fromkeys(curve.run for curve in curves))
    # A Figure without pyplot draws without a display.
    size = (INCHES[0] * len(keys), INCHES[1])
    figure = Figure(figsize=size, dpi=DPI, layout='constrained')
    for axes, key in zip(figure.subplots(1, len(keys), squeeze=False).flat, keys, strict=True):
        _draw_panel(axes, [curve for curve in curves if curve.key == key], runs)
        axes.set_ylabel(f'{key} [%]' if key.startswith('accuracy') else key)
    handles, names = figure.axes[0].get_legend_handles_labels()
    # Lines that end close together hide each other's names.
    where = dict(loc='outside lower center', ncols=min(len(runs), 4), handlelength=4)
    figure.legend(handles, names, frameon=False, **where)
    with open(path, 'xb') as file:
        figure.savefig(file, format='png')


def _draw_panel(axes: Axes, curves: Sequence[Curve], runs: Sequence[str]) -> None:
    for curve in curves:
        style = STYLES[runs.index(curve.run) % len(STYLES)]
        # A line of one point would be invisible.
        marker = 'o' if len(curve.steps) == 1 else None
        axes.plot(curve.steps, curve.values, label=curve.run, marker=marker, **style)
        end = (curve.steps[-1], curve.values[-1])
        axes.annotate(curve.run, end, (4, 0), textcoords='offset points', fontsize=8, va='center')
    axes.set_xlabel(' / '.join(dict.fromkeys(curve.unit for curve in curves)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(x=0.12)
