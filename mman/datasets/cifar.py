"""CIFAR-10 and CIFAR-100."""

from collections.abc import Iterator

import mmpretrain.datasets as mmpretrain_datasets
import numpy as np

from mman.registry import DATASETS

from .array_pickle import load_array_pickle
from .official_dataset import ArchivedDataset
from .official_files import reading


@DATASETS.register_module()
class CIFAR10(ArchivedDataset, mmpretrain_datasets.CIFAR10):
    """CIFAR-10: 50,000 train and 10,000 test images of 32 x 32, 10 classes.

    Beside mmpretrain's class of the same name, it has ``verify``, one error
    when there is no network, and never replaces files that exist. It downloads
    only if ``data_root`` holds neither ``cifar-10-batches-py/`` nor
    ``cifar-10-python.tar.gz``. Nothing stored in the files is executed.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html

    Args:
        data_root (str): Local folder that holds ``cifar-10-batches-py/``.
        split (str): 'train' or 'test'. Defaults to 'train'.
        **kwargs: Other keys of :class:`OfficialDataset`, whose errors it raises.
    """

    COUNTS = dict(train=50_000, test=10_000)
    image_shape = (32, 32, 3)
    _label_key = 'labels'

    def _parse(self, paths: list[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for path in paths:
            with reading(path):
                batch = load_array_pickle(path)
                # A row holds the red, the green and the blue plane.
                images = batch['data'].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
                labels = np.asarray(batch[self._label_key])
            yield path, images, labels


@DATASETS.register_module()
class CIFAR100(CIFAR10, mmpretrain_datasets.CIFAR100):
    """CIFAR-100: 50,000 train and 10,000 test images of 32 x 32, 100 classes.

    The labels are the 100 fine ones. All else is as in :class:`CIFAR10`, with
    ``cifar-100-python/`` and ``cifar-100-python.tar.gz``.
    """

    _label_key = 'fine_labels'
