"""Street View House Numbers, cropped digits."""

from collections.abc import Iterator

import numpy as np
import scipy.io
from torchvision import datasets as torchvision_datasets

from mman.registry import DATASETS

from .official_dataset import OfficialDataset
from .official_files import reading


@DATASETS.register_module()
class SVHN(OfficialDataset):
    """SVHN: 73,257 train and 26,032 test images of 32 x 32, 10 classes.

    The digit 0 has the label 0 (10 in the files). The 531,131 'extra' images
    are read, and downloaded (1.3 GB), only if ``split`` names them.

    Source: http://ufldl.stanford.edu/housenumbers/

    Args:
        data_root (str): Local folder that holds ``train_32x32.mat`` and ``test_32x32.mat``.
        split (str): 'train', 'test', 'extra' or 'train+extra' (in this order). Defaults to 'train'.
        **kwargs: Other keys of :class:`OfficialDataset`, whose errors it raises.
    """

    METAINFO = {'classes': tuple('0123456789')}
    COUNTS = {'train': 73_257, 'test': 26_032, 'extra': 531_131, 'train+extra': 604_388}
    SPLITS = tuple(COUNTS)
    image_shape = (32, 32, 3)

    def _files(self) -> list[tuple[str, str, str]]:
        published = [torchvision_datasets.SVHN.split_list[part] for part in self.split.split('+')]
        return [(name, md5, url) for url, name, md5 in published]

    def _parse(self, paths: list[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for path in paths:
            with reading(path):
                content = scipy.io.loadmat(path)
                images, labels = content['X'].transpose(3, 0, 1, 2), content['y'].reshape(-1)
            yield path, images, np.where(labels == 10, 0, labels)
