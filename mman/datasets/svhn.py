"""Street View House Numbers, cropped digits."""

import os.path as osp

import numpy as np
import torchvision.datasets as torchvision_datasets

from mman.registry import DATASETS

from .fetching import download_file, require_download
from .official_dataset import OfficialDataset
from .official_files import reading, require_file, require_samples


class _Reader(torchvision_datasets.SVHN):
    def _check_integrity(self) -> bool:
        # Checked before, as the key ``verify`` says.
        return True


@DATASETS.register_module()
class SVHN(OfficialDataset):
    """SVHN: 73,257 train and 26,032 test images of 32 x 32, 10 classes.

    The digit 0 has the label 0 (10 in the files). The 531,131 'extra' images
    are read, and downloaded (1.3 GB), only if ``split`` names them.

    Source: http://ufldl.stanford.edu/housenumbers/, read by torchvision

    Args:
        data_root (str): Local folder that holds ``train_32x32.mat`` and
            ``test_32x32.mat``.
        split (str): 'train', 'test', 'extra' or 'train+extra' (in this order).
            Defaults to 'train'.
        **kwargs: Other keys of :class:`OfficialDataset`.

    Raises:
        UserError: If a key has a wrong value.
        DataError: If the files are missing, differ or cannot be read.
    """

    METAINFO = {'classes': tuple('0123456789')}
    COUNTS = {'train': 73_257, 'test': 26_032, 'extra': 531_131, 'train+extra': 604_388}
    SPLITS = tuple(COUNTS)
    image_shape = (32, 32, 3)

    def _official(self) -> list[tuple[str, str, str, str]]:
        """Per part of the split its name, URL, file name and md5."""
        return [(part, *_Reader.split_list[part]) for part in self.split.split('+')]

    def _needs(self) -> str:
        return ' and '.join(name for _, _, name, _ in self._official())

    def _fetch(self) -> None:
        for _, url, name, _ in self._official():
            path = self._path(name)
            if not osp.exists(path):
                require_download(path, self.download)
                download_file(url, path)

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        parts = [self._read_part(part, name, md5) for part, _, name, md5 in self._official()]
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))

    def _read_part(self, part: str, name: str, md5: str) -> tuple[np.ndarray, np.ndarray]:
        path = self._path(name)
        require_file(path, self._md5(md5))
        with reading(path):
            reader = _Reader(self.data_root, part)
            images = reader.data.transpose(0, 2, 3, 1)
            labels = reader.labels.reshape(-1)
        require_samples(path, images, labels, self.image_shape, self.num_classes)
        return images, labels
