"""Feature maps as a picture."""

from collections.abc import Sequence

import numpy as np
import torch
from map_panels import BIAS, MIXED, MOMENTUM, OUTPUT
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INCH, DPI = 1.6, 100
COLUMNS = (OUTPUT, MOMENTUM, BIAS, MIXED)


def draw(
    path: str,
    image: np.ndarray,
    maps: dict[int, dict[str, torch.Tensor]],
    channels: Sequence[int] | None,
    title: str,
) -> None:
    """Write the image and a row of maps for every block and channel.

    Every map is scaled by itself, from black at its lowest value to white at
    its highest, which stand below it.

    Args:
        path (str): A new .png file, 160 x 160 pixels a map.
        image (ndarray): Uint8, (H, W) or (H, W, 3).
        maps (dict): By block, maps (C, H, W) by name.
        channels (Sequence[int] | None): Which to draw; None for their mean.
        title (str): Above the whole.
    """
    rows = [(k, channel) for k in maps for channel in (channels or [None])]
    columns = [name for name in COLUMNS if any(name in row for row in maps.values())]
    # A Figure without pyplot draws without a display.
    size = (INCH * (len(columns) + 1), INCH * len(rows) + 0.6)
    figure = Figure(figsize=size, dpi=DPI, layout='constrained')
    grid = figure.subplots(len(rows), len(columns) + 1, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    grid[0, 0].imshow(image, cmap='gray', vmin=0, vmax=255)
    grid[0, 0].set_title('image', fontsize=8)
    for line, (k, channel) in zip(grid, rows, strict=True):
        for axes, name in zip(line[1:], columns, strict=True):
            if name in maps[k]:
                _draw_map(axes, maps[k][name], channel, f'block {k}, {name}')
    what = 'mean over channels' if channels is None else 'single channels'
    figure.suptitle(f'{title}, {what}', fontsize=9)
    with open(path, 'xb') as file:
        figure.savefig(file, format='png')


def _draw_map(axes: Axes, maps: torch.Tensor, channel: int | None, name: str) -> None:
    one = maps.mean(dim=0) if channel is None else maps[channel]
    axes.imshow(one.numpy(), cmap='gray')
    label = name if channel is None else f'{name}, ch. {channel}'
    axes.set_title(f'{label}\n{one.min():.3g} to {one.max():.3g}', fontsize=7)
