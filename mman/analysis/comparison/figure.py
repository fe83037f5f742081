"""A comparison as a picture: error against memory, one point a line."""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from ..plots import new_figure, save_png
from .lines import Line, momentum_head, spread

MIB = 2**20
# One marker for each kind of head, BP's first; fillings tell what momentum does, without colours.
MARKERS = 'o^Dsv<>Pphd*X'
FILLS = {None: 'white', 'sum': '0.65', 'scaled': 'black'}
FILL_NAMES = {None: 'without momentum', 'sum': 'MAN', 'scaled': 'MAN++'}
SIZE, TEXT, CAP = 8.0, 8.5, 3.0  # points: markers, letters, half an error bar's width
GAP = 3  # pixels around a label
# Pixels between a point and its label, near ones first.
DISTANCES = (14, 22, 34, 50, 70, 95, 125)
# Beside comes before above and below, and these before the corners.
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


def draw_comparison(path: Path, lines: Sequence[Line], title: str) -> None:
    """Write mean top-1 errors, with bars of a standard deviation, over predicted peaks.

    Args:
        path (Path): A .png file, maybe an old one, 1350 x 900 pixels.
        lines (Sequence[Line]): The lines; those without an error are left out.
        title (str): Above the picture.
    """
    shown = [line for line in lines if line.errors]
    figure = new_figure(9, 6, dpi=150)
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_xlabel('predicted peak of a training iteration [MiB]')
    several = any(len(line.errors) > 1 for line in shown)
    spread_note = ', mean and std over seeds' if several else ''
    axes.set_ylabel(f'top-1 error after the last epoch [%]{spread_note}')
    axes.margins(0.12)
    axes.grid(color='0.9', linewidth=0.6)
    axes.set_axisbelow(True)
    kinds = list(dict.fromkeys(_kind(line) for line in lines))
    for line in shown:
        _point(axes, line, MARKERS[kinds.index(_kind(line)) % len(MARKERS)])
    mixes = [mix for mix in FILLS if any(_mix(line) == mix for line in shown)]
    if len(mixes) > 1:
        handles = [_sample(FILLS[mix], FILL_NAMES[mix]) for mix in mixes]
        figure.legend(handles=handles, loc='outside lower center', ncols=len(handles))
    _label(figure, axes, shown)
    save_png(figure, path, overwrite=True)


def _kind(line: Line) -> str:
    """What kind of head trains the blocks, momentum aside."""
    momentum = momentum_head(line.candidate)
    head = line.candidate.cfg.model.get('aux_head') if momentum is None else momentum.host
    return str((head or {}).get('type'))


def _mix(line: Line) -> str | None:
    """How a momentum head mixes, None of another head."""
    head = momentum_head(line.candidate)
    return None if head is None else head.get('mix', 'sum')


def _place(line: Line) -> tuple[float, float]:
    return line.cost.peak / MIB, spread(line.errors).mean


def _point(axes: Axes, line: Line, marker: str) -> None:
    x, y = _place(line)
    axes.errorbar(
        x,
        y,
        yerr=spread(line.errors).std,
        marker=marker,
        markersize=SIZE,
        markerfacecolor=FILLS[_mix(line)],
        color='black',
        ecolor='0.5',
        elinewidth=1,
        capsize=CAP,
        zorder=3,
    )


def _sample(fill: str, name: str) -> Line2D:
    """An entry of the legend."""
    style = dict(marker='o', markersize=SIZE, markerfacecolor=fill, color='black')
    return Line2D([], [], linestyle='', label=name, **style)


def _label(figure: Figure, axes: Axes, lines: Sequence[Line]) -> None:
    """Name every point, each name where it covers nothing."""
    several = len({line.candidate.num_blocks for line in lines} - {1}) > 1
    figure.draw_without_rendering()
    # The layout is final: labels must not move what they were placed by.
    figure.set_layout_engine('none')
    taken = [box for line in lines for box in _covered(axes, line)]
    for line in sorted(lines, key=_place):
        count = line.candidate.num_blocks
        name = line.candidate.method + (f', K={count}' if several and count > 1 else '')
        label = axes.annotate(
            name,
            _place(line),
            xytext=(0, 0),
            textcoords='offset pixels',
            fontsize=TEXT,
            verticalalignment='bottom',
            arrowprops=dict(arrowstyle='-', color='0.5', linewidth=0.6, shrinkA=0, shrinkB=4),
        )
        size = Text.get_window_extent(label).padded(GAP).size
        box = free_box(axes.transData.transform(_place(line)), size, taken, axes.bbox)
        corner = box.padded(-GAP).min - axes.transData.transform(_place(line))
        label.set_position(tuple(corner))
        taken.append(box)


def _covered(axes: Axes, line: Line) -> list[Bbox]:
    """Pixels of a marker and of its error bar."""
    x, y = _place(line)
    std = spread(line.errors).std or 0
    point = axes.figure.dpi / 72
    low, middle, high = axes.transData.transform([(x, y - std), (x, y), (x, y + std)])
    marker = Bbox([middle - SIZE / 2 * point, middle + SIZE / 2 * point])
    return [marker, Bbox([low - CAP * point, high + CAP * point])]


def free_box(
    point: Sequence[float], size: Sequence[float], taken: Iterable[Bbox], frame: Bbox
) -> Bbox:
    """The nearest place around a point that covers nothing, else the one that covers least.

    Args:
        point (Sequence[float]): (x, y) in pixels.
        size (Sequence[float]): (width, height) of the label in pixels.
        taken (Iterable[Bbox]): What must not be covered.
        frame (Bbox): What must not be left.
    """
    taken = list(taken)
    boxes = [_box(point, size, *place) for place in product(DISTANCES, SIDES)]
    # min takes the first of equals, which is the nearest.
    return min(boxes, key=lambda box: _outside(box, frame) + sum(_common(box, t) for t in taken))


def _box(
    point: Sequence[float], size: Sequence[float], distance: float, side: tuple[int, int]
) -> Bbox:
    """A label that far to the right or left, up or down."""
    middle = [
        at + step * (distance + length / 2)
        for at, step, length in zip(point, side, size, strict=True)
    ]
    return Bbox.from_bounds(middle[0] - size[0] / 2, middle[1] - size[1] / 2, *size)


def _common(box: Bbox, other: Bbox) -> float:
    """Area that two boxes share."""
    common = Bbox.intersection(box, other)
    return common.width * common.height if common is not None else 0.0


def _outside(box: Bbox, frame: Bbox) -> float:
    """Area of a box outside a frame."""
    return box.width * box.height - _common(box, frame)
