"""A data set of features that the blocks before the first trained one gave, kept on disk.

A cache is a folder. Each view of the images is a folder ``view0``, ``view1``, ... in it: the bytes
of ``features.bin``, ``labels.bin`` and perhaps ``images.bin``, sample after sample, and
``index.json``, which was written last and says what they are and what their checksums are.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import force_full_init
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from mman.registry import DATASETS
from mman.utils import DataError, UserError
from mman.utils.atomic_file import sha256_of, write_atomically

#: How features may be stored.
DTYPES = dict(float32=torch.float32, float16=torch.float16, bfloat16=torch.bfloat16)
INDEX = 'index.json'
FEATURES, LABELS, IMAGES = 'features.bin', 'labels.bin', 'images.bin'


@DATASETS.register_module()
class CachedFeatures(Dataset):
    """Features of images, and their labels, memory-mapped from a cache.

    :func:`mman.apis.use_feature_cache` writes the cache and puts this data set in place of the
    one of images. Every file is compared with its checksum when the data set is read.

    Args:
        folder (str): The cache.
        views (int): How many of its views are used. Of several, each sample is of one that is
            drawn from NumPy's global generator. Defaults to 1.
        lazy_init (bool): Whether to read only when first needed. Defaults to False.

    Raises:
        UserError: If a key has a wrong value.
        DataError: If a view is missing, unfinished or damaged.
    """

    def __init__(self, folder: str, views: int = 1, lazy_init: bool = False):
        self.views = checked_views(views, 'CachedFeatures: views')
        self.folder = Path(folder)
        self._places = [view_folder(folder, view) for view in range(views)]
        self._maps: list[dict[str, np.memmap]] | None = None
        self._fully_initialized = False
        self.index = self._require(self._places[0])
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict:
        """dict: ``classes`` of the data set of images, if it has them."""
        classes = self.index['classes']
        return {} if classes is None else dict(classes=tuple(classes))

    @property
    def prefix(self) -> str:
        """SHA-256 of the weights that the features are of."""
        return self.index['key']['weights']

    def known_length(self) -> int:
        """Samples that there are."""
        return self.index['count']

    def full_init(self) -> None:
        """Compare all files with their checksums; nothing if that was done."""
        if self._fully_initialized:
            return
        for place in self._places:
            _check_files(place, self._require(place))
        self._fully_initialized = True

    @force_full_init
    def __len__(self) -> int:
        return self.index['count']

    @force_full_init
    def __getitem__(self, index: int) -> dict:
        """One sample.

        Returns:
            dict: ``features``, in the type that they were computed in; ``data_samples``, a
            DataSample with ``gt_label``; and, if they were stored, ``inputs``, the image that
            the features are of, uint8 (C, H, W).
        """
        return self.sample(index, np.random.randint(self.views) if self.views > 1 else 0)

    def sample(self, index: int, view: int) -> dict:
        """A sample in one of its views."""
        files = self._opened()[view]
        features = _tensor(files[FEATURES][index], DTYPES[self.index['dtype']])
        features = features.view(self.index['feature_shape'])
        label = _tensor(files[LABELS][index], torch.int64)
        sample = dict(
            features=features.to(DTYPES[self.index['computed_in']]),
            data_samples=DataSample().set_gt_label(label),
        )
        if IMAGES in files:
            image = _tensor(files[IMAGES][index], torch.uint8)
            sample['inputs'] = image.view(self.index['image_shape'])
        return sample

    def __getstate__(self) -> dict:
        """All but the maps, which every process opens for itself."""
        return {**vars(self), '_maps': None}

    def _opened(self) -> list[dict[str, np.memmap]]:
        if self._maps is None:
            rows = (self.index['count'], -1)
            self._maps = [
                {
                    name: np.memmap(place / name, np.uint8, 'r').reshape(rows)
                    for name in self.index['files']
                }
                for place in self._places
            ]
        return self._maps

    def _require(self, place: Path) -> dict:
        index = read_index(place)
        if index is None:
            raise DataError(
                f'CachedFeatures: folder={str(self.folder)!r} has no finished {place.name}: the '
                'key feature_cache of a config writes it'
            )
        return index


def checked_views(views: Any, where: str) -> int:
    """The number of views; a UserError if it is no integer from 1 on."""
    if type(views) is not int or views < 1:
        raise UserError(f'{where}={views!r} should be an integer from 1 on')
    return views


def view_folder(folder: str | Path, view: int) -> Path:
    """Where a cache has one of its views."""
    return Path(folder) / f'view{view}'


def write_index(place: Path, index: Mapping) -> None:
    """Finish a view: say what its files are, with a checksum of that too."""
    content = json.dumps(dict(index, sha256=_digest(index)), indent=1)
    write_atomically(place / INDEX, f'{content}\n'.encode())


def read_index(place: Path) -> dict | None:
    """What a view is; None if it is not finished, or a file of it is gone.

    Raises:
        DataError: If that is damaged.
    """
    path = place / INDEX
    if not path.is_file():
        return None
    try:
        index = json.loads(path.read_bytes())
        sound = index.pop('sha256') == _digest(index)
    # No text, no JSON, or another value than a dict with that key.
    except (ValueError, AttributeError, KeyError, TypeError):
        sound = False
    if not sound:
        raise _damaged(path, 'its content does not match its SHA-256')
    return index if all((place / name).is_file() for name in index['files']) else None


def _check_files(place: Path, index: Mapping) -> None:
    for name, known in index['files'].items():
        size = (place / name).stat().st_size
        if size != known['bytes']:
            raise _damaged(place / name, f'it has {size:,} bytes, not {known["bytes"]:,}')
        if sha256_of(place / name) != known['sha256']:
            raise _damaged(place / name, 'its content does not match its SHA-256')


def _damaged(path: Path, fault: str) -> DataError:
    return DataError(
        f'feature cache: {str(path)!r} is damaged ({fault}): delete it, and feature_cache writes '
        'its view anew'
    )


def _digest(index: Mapping) -> str:
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()


def _tensor(row: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """The numbers in a row of bytes, copied out of the map."""
    return torch.from_numpy(np.array(row)).view(dtype)
