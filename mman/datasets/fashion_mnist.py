"""Fashion-MNIST."""

import gzip
import hashlib
import os.path as osp
from collections.abc import Iterator

import mmpretrain.datasets as mmpretrain_datasets
import numpy as np

from mman.registry import DATASETS

from .key_checks import require_choice
from .official_dataset import OfficialDataset
from .official_files import reading

# Of the files' uncompressed content, so that it does not matter how they were
# compressed: the official .gz files and Debian's package hold the same.
_CONTENT_MD5 = {
    'train-images-idx3-ubyte': 'f4a8712d7a061bf5bd6d2ca38dc4d50a',
    'train-labels-idx1-ubyte': '9018921c3c673c538a1fc5bad174d6f9',
    't10k-images-idx3-ubyte': '8181f5470baa50b63fa0f6fddb340f0a',
    't10k-labels-idx1-ubyte': '15d484375f8d13e6eb1aabb0c3f46965',
}
_UINT8_CODE = 0x08


@DATASETS.register_module()
class FashionMNIST(OfficialDataset, mmpretrain_datasets.FashionMNIST):
    """Fashion-MNIST: 60,000 train and 10,000 test images of 28 x 28, 10 classes.

    Unlike mmpretrain's class of the same name, ``split`` selects the samples (there it is
    ``test_mode``), and ``img`` has a channel axis. Each file may be compressed (``.gz``, preferred)
    or not; only those of the split are needed, and only missing ones are downloaded.

    Source: https://github.com/zalandoresearch/fashion-mnist

    Args:
        data_root (str): Local folder that holds the four idx files.
        split (str): 'train' or 'test'. Defaults to 'train'.
        channels (int): Channels of ``img``, 3 (the grey value three times) or 1. Defaults to 3.
        **kwargs: Other keys of :class:`OfficialDataset`, whose errors it raises.
            ``verify`` compares the uncompressed content.
    """

    COUNTS = dict(train=60_000, test=10_000)

    def __init__(self, data_root: str = '', split: str = 'train', *, channels: int = 3, **kwargs):
        require_choice(self, 'channels', channels, (1, 3))
        self.channels = channels
        self.image_shape = (28, 28, channels)
        super().__init__(data_root, split, **kwargs)

    def _needs(self) -> str:
        return f'{super()._needs().replace(".gz", "")} (with or without .gz)'

    def _path(self, name: str) -> str:
        """That of the uncompressed file only if the .gz is not there."""
        path = super()._path(name)
        raw = path.removesuffix('.gz')
        return raw if osp.exists(raw) and not osp.exists(path) else path

    def _files(self) -> list[tuple[str, str, str]]:
        names = [name for name, _ in (self.train_list if self.split == 'train' else self.test_list)]
        return [
            (name, _CONTENT_MD5[name.removesuffix('.gz')], self.url_prefix + name) for name in names
        ]

    def _md5(self, path: str) -> str:
        return hashlib.md5(_content(path)).hexdigest()

    def _parse(self, paths: list[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        grey, labels = (_parse_idx(path) for path in paths)
        yield ' with '.join(paths), grey[..., None].repeat(self.channels, axis=-1), labels


def _content(path: str) -> bytes:
    """That of a file, compressed or not."""
    with reading(path), gzip.open(path) if path.endswith('.gz') else open(path, 'rb') as file:
        return file.read()


def _parse_idx(path: str) -> np.ndarray:
    """Array of an idx file of uint8: magic number, sizes, then the values."""
    content = _content(path)
    with reading(path):
        zero, code, ndim = int.from_bytes(content[:2], 'big'), content[2], content[3]
        if zero != 0 or code != _UINT8_CODE:
            raise ValueError(f'its magic number is {content[:4].hex()}, not 000008xx')
        shape = np.frombuffer(content, '>u4', count=ndim, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * ndim).reshape(shape)
