"""Checks of the files of a published data set."""

import hashlib
import os.path as osp
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from mmpretrain.datasets.utils import calculate_md5


def require_file(path: str, md5: str | None) -> None:
    """Refuse a file that is missing or differs from the official one.

    Args:
        path (str): The file.
        md5 (str | None): Official checksum in hex; None accepts any content.

    Raises:
        RuntimeError: If there is no such file or its checksum differs.
    """
    if not osp.isfile(path):
        raise RuntimeError(f'{path} is missing.')
    if md5 is not None:
        require_md5(path, calculate_md5(path), md5)


def require_md5(path: str, found: str, official: str) -> None:
    """Refuse a checksum that differs from the official one.

    Args:
        path (str): The file that the checksum belongs to.
        found (str): Its checksum in hex.
        official (str): The official checksum in hex.

    Raises:
        RuntimeError: If they differ.
    """
    if found != official:
        raise RuntimeError(_differs(path, 'md5', found, official))


def require_sha256(path: str, official: str) -> None:
    """Refuse a file that is missing or whose SHA-256 is not the official one.

    Args:
        path (str): The file.
        official (str): The official checksum in hex.

    Raises:
        RuntimeError: If there is no such file or its checksum differs.
    """
    require_file(path, None)
    found = sha256_of(path)
    if found != official:
        raise RuntimeError(_differs(path, 'sha256', found, official))


def sha256_of(path: str) -> str:
    """SHA-256 of a file in hex."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _differs(path: str, kind: str, found: str, official: str) -> str:
    return (
        f'{path} has the {kind} {found}, the official one is {official}: '
        'the file is damaged or re-encoded. It was left as it is.'
    )


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn any failure to read a file into one error that names the file.

    Args:
        path (str): The file that is read inside the context.

    Raises:
        RuntimeError: If anything was raised inside the context.
    """
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
    """Refuse images and labels that do not belong together.

    Args:
        path (str): The file they were read from.
        images (np.ndarray): uint8 of shape (N, H, W, C).
        labels (np.ndarray): Integers of shape (N, ) in [0, num_classes).
        image_shape (tuple[int, int, int]): The (H, W, C) of the data set.
        num_classes (int): Number of classes of the data set.

    Raises:
        RuntimeError: On another type or shape of the images or labels, no
            sample, or a label out of range.
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
