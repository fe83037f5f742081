"""Places for labels of points in a picture, where they cover nothing."""

from collections.abc import Iterable, Sequence
from itertools import product

from matplotlib.transforms import Bbox

# Pixels between a point and its label, near ones first.
DISTANCES = (14, 22, 34, 50, 70, 95, 125)
# Beside comes before above and below, and these before the corners.
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


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
