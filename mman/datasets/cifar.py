"""CIFAR-10 and CIFAR-100."""

import mmpretrain.datasets as mmpretrain_datasets
import numpy as np

from mman.registry import DATASETS

from .array_pickle import load_array_pickle
from .fetching import fetch_folder
from .official_dataset import OfficialDataset
from .official_files import reading, require_file, require_samples


@DATASETS.register_module()
class CIFAR10(OfficialDataset, mmpretrain_datasets.CIFAR10):
    """CIFAR-10: 50,000 train and 10,000 test images of 32 x 32, 10 classes.

    Beside mmpretrain's class of the same name, it has ``verify``, one error
    when there is no network, and never replaces files that exist. It downloads
    only if ``data_root`` holds neither ``cifar-10-batches-py/`` nor
    ``cifar-10-python.tar.gz``. Nothing stored in the files is executed.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html

    Args:
        data_root (str): Local folder that holds ``cifar-10-batches-py/``.
        split (str): 'train' or 'test'. Defaults to 'train'.
        **kwargs: Other keys of :class:`OfficialDataset`.

    Raises:
        UserError: If a key has a wrong value.
        DataError: If the files are missing, differ or cannot be read.
    """

    COUNTS = dict(train=50_000, test=10_000)
    image_shape = (32, 32, 3)
    _label_key = 'labels'

    def _needs(self) -> str:
        return f'the folder {self.base_folder}/ or the archive {self.filename}'

    def _fetch(self) -> None:
        fetch_folder(
            folder=self._path(self.base_folder),
            archive=self._path(self.filename),
            url=self.url,
            download=self.download,
            verify=self.verify,
        )

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        files = self.train_list if self.split == 'train' else self.test_list
        batches = [self._read_batch(name, md5) for name, md5 in files]
        return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))

    def _read_batch(self, name: str, md5: str) -> tuple[np.ndarray, np.ndarray]:
        path = self._path(self.base_folder, name)
        require_file(path, self._md5(md5))
        with reading(path):
            batch = load_array_pickle(path)
            # A row holds the red, the green and the blue plane.
            images = batch['data'].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            labels = np.asarray(batch[self._label_key])
        require_samples(path, images, labels, self.image_shape, self.num_classes)
        return images, labels


@DATASETS.register_module()
class CIFAR100(CIFAR10):
    """CIFAR-100: 50,000 train and 10,000 test images of 32 x 32, 100 classes.

    The labels are the 100 fine ones. All else is as in :class:`CIFAR10`, with
    ``cifar-100-python/`` and ``cifar-100-python.tar.gz``.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html

    Args:
        data_root (str): Local folder that holds ``cifar-100-python/``.
        split (str): 'train' or 'test'. Defaults to 'train'.
        **kwargs: Other keys of :class:`OfficialDataset`.

    Raises:
        UserError: If a key has a wrong value.
        DataError: If the files are missing, differ or cannot be read.
    """

    _published = mmpretrain_datasets.CIFAR100
    _label_key = 'fine_labels'

    METAINFO = _published.METAINFO
    base_folder = _published.base_folder
    url = _published.url
    filename = _published.filename
    train_list = _published.train_list
    test_list = _published.test_list
