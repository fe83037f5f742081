"""STL-10, its labelled part."""

from collections.abc import Iterator

import numpy as np
from torchvision import datasets as torchvision_datasets

from mman.registry import DATASETS

from .official_dataset import ArchivedDataset
from .official_files import reading

_published = torchvision_datasets.STL10


@DATASETS.register_module()
class STL10(ArchivedDataset):
    """STL-10: 5,000 train and 8,000 test images of 96 x 96, 10 classes.

    The unlabelled images are neither read nor needed, though the archive (2.6 GB) contains them.

    Source: https://cs.stanford.edu/~acoates/stl10/

    Args:
        data_root (str): Local folder that holds ``stl10_binary/``.
        split (str): 'train' or 'test'. Defaults to 'train'.
        **kwargs: Other keys of :class:`OfficialDataset`, whose errors it raises.
    """

    METAINFO = {'classes': tuple('airplane bird car cat deer dog horse monkey ship truck'.split())}
    COUNTS = dict(train=5_000, test=8_000)
    image_shape = (96, 96, 3)

    base_folder, filename, url = _published.base_folder, _published.filename, _published.url
    # Without the 2.8 GB of unlabelled images.
    train_list, test_list = _published.train_list[:2], _published.test_list

    def _parse(self, paths: list[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        where = ' or '.join(paths)
        with reading(where):
            images, labels = (np.fromfile(path, np.uint8) for path in paths)
            # Each plane is stored column by column, and the labels count from 1.
            images = images.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
        yield where, images, labels.astype(np.int64) - 1
