"""Training samples as a picture."""

import math
import textwrap

from matplotlib.figure import Figure
from sample_pixels import Samples

INCH, DPI = 1.3, 100
CHARACTERS = 20


def draw(path: str, samples: Samples, title: str) -> None:
    """Write the images in rows, the class of each above it.

    Args:
        path (str): A new .png file, 130 x 150 pixels an image and a title.
        samples (Samples): The images.
        title (str): Above the whole.
    """
    count = len(samples.names)
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    # A Figure without pyplot draws without a display.
    size = (INCH * max(columns, 2), (INCH + 0.2) * rows + 0.3)
    figure = Figure(figsize=size, dpi=DPI, layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, name in zip(grid.flat, samples.images, samples.names, strict=False):
        axes.imshow(image.permute(1, 2, 0).squeeze(), cmap='gray', vmin=0, vmax=255)
        axes.set_title(textwrap.shorten(name, CHARACTERS, placeholder=' ...'), fontsize=7)
    figure.suptitle(title, fontsize=9)
    with open(path, 'xb') as file:
        figure.savefig(file, format='png')
