"""Accuracies of linear probes as a picture."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from probe_fit import Probe

INCHES, DPI = (7, 4.5), 120


def draw(path: str, probes: Sequence[Probe], accuracy: float, title: str) -> None:
    """Write accuracy over blocks, and that of the network as a line across.

    Args:
        path (str): A new .png file, 840 x 540 pixels.
        probes (Sequence[Probe]): One for every block.
        accuracy (float): Of the network itself, in per cent.
        title (str): Above the whole.
    """
    # A Figure without pyplot draws without a display.
    figure = Figure(figsize=INCHES, dpi=DPI, layout='constrained')
    axes = figure.subplots()
    places = range(len(probes))
    axes.plot(places, [p.val for p in probes], 'ko-', label='linear probe, val')
    axes.plot(places, [p.train for p in probes], 'o:', color='0.55', label='linear probe, train')
    axes.axhline(accuracy, color='black', linestyle='--', label='the network itself, val')
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(-0.5, len(probes) - 0.5)
    axes.set_xlabel('block')
    axes.set_ylabel('accuracy [%]')
    axes.set_title(title)
    figure.legend(loc='outside lower center', ncols=3, frameon=False)
    with open(path, 'xb') as file:
        figure.savefig(file, format='png')
