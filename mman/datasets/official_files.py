"""Checks of the files of a published data set; each raises a RuntimeError that names the file."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def require_sum(path: str, kind: str, found: str, official: str) -> None:
    """Refuse a checksum in hex, of a ``kind`` such as 'md5', that is not the official one."""
    if found != official:
        raise RuntimeError(
            f'{path} has the {kind} {found}, the official one is {official}: '
            'the file is damaged or re-encoded. It was left as it is.'
        )


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn whatever is raised while a file is read into one error."""
    # Parsers raise errors of any type on damaged bytes, so all are caught.
    try:
        yield
    except Exception as error:
        raise RuntimeError(
            f'{path} cannot be read ({type(error).__name__}: {error}). '
            'It is truncated, damaged or of another format.'
        ) from None


def require_samples(
    path: str,
    images: np.ndarray,
    labels: np.ndarray,
    image_shape: tuple[int, int, int],
    num_classes: int,
) -> None:
    """Refuse images and labels, read from ``path``, that do not belong together.

    Images must be uint8 (N, H, W, C), N above 0, and of ``image_shape``; labels integers (N, )
    in [0, num_classes).
    """
    if images.dtype != np.uint8 or images.shape[1:] != image_shape:
        raise RuntimeError(
            f'{path} holds images of {images.dtype} and shape {images.shape[1:]}, '
            f'they must be uint8 of shape {image_shape}.'
        )
    if labels.shape != (len(images),) or labels.dtype.kind not in 'iu' or not len(images):
        raise RuntimeError(
            f'{path} holds {len(images)} images and {labels.size} labels of {labels.dtype}, '
            'there must be at least one image, and an integer label for each.'
        )
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if wrong.size:
        raise RuntimeError(
            f'{path} holds the label {wrong[0]}, labels must lie in [0, {num_classes - 1}].'
        )
