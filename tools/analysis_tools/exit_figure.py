"""Early exits as a picture."""

import io
from collections.abc import Sequence

from exit_rows import Row
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INCHES, DPI = (11, 4.5), 120
LINE = dict(color='black', linewidth=1.2, marker='o', markersize=6)
# Told apart without colour: an exit is a filled circle, the whole network an open square.
WHOLE = dict(color='black', marker='s', markersize=9, fillstyle='none', linestyle='none')
_UNITS = ((1e9, 'GFLOPs'), (1e6, 'MFLOPs'), (1e3, 'kFLOPs'))


def draw(rows: Sequence[Row], title: str) -> bytes:
    """A PNG of 1320 x 540 pixels: accuracy by block, and by arithmetic."""
    size, unit = next((s, u) for s, u in _UNITS if rows[-1].flops >= s or u == 'kFLOPs')
    # A Figure without pyplot draws without a display.
    figure = Figure(figsize=INCHES, dpi=DPI, layout='constrained')
    axes = figure.subplots(1, 2, sharey=True)
    for axis, places in zip(
        axes, ([r.block for r in rows], [r.flops / size for r in rows]), strict=True
    ):
        accuracies = [row.accuracy for row in rows]
        axis.plot(places[:-1], accuracies[:-1], label='early exit', **LINE)
        axis.plot(places[-1:], accuracies[-1:], label='whole network', **WHOLE)
        axis.grid(color='#cccccc', linewidth=0.6)
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[0].set_xlabel('last block that is run')
    axes[0].set_ylabel('top-1 accuracy [%]')
    axes[1].set_xlabel(f'arithmetic of one image [{unit}]')
    axes[1].set_xlim(left=0)
    axes[0].legend(loc='best')
    figure.suptitle(title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png')
    return buffer.getvalue()
