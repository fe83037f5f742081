"""STL-10, its labelled part."""

import numpy as np
import torchvision.datasets as torchvision_datasets

from mman.registry import DATASETS

from .fetching import fetch_folder
from .official_dataset import OfficialDataset
from .official_files import reading, require_file, require_samples


class _Reader(torchvision_datasets.STL10):
    def _check_integrity(self) -> bool:
        # Checked before, as the key ``verify`` says, and without the 2.8 GB of
        # unlabelled images, which torchvision demands too.
        return True


@DATASETS.register_module()
class STL10(OfficialDataset):
    """STL-10: 5,000 train and 8,000 test images of 96 x 96, 10 classes.

    The unlabelled images are neither read nor needed, though the archive
    (2.6 GB) contains them.

    Source: https://cs.stanford.edu/~acoates/stl10/, read by torchvision

    Args:
        data_root (str): Local folder that holds ``stl10_binary/``.
        split (str): 'train' or 'test'. Defaults to 'train'.
        **kwargs: Other keys of :class:`OfficialDataset`.

    Raises:
        UserError: If a key has a wrong value.
        DataError: If the files are missing, differ or cannot be read.
    """

    METAINFO = {
        'classes': (
            'airplane',
            'bird',
            'car',
            'cat',
            'deer',
            'dog',
            'horse',
            'monkey',
            'ship',
            'truck',
        )
    }
    COUNTS = dict(train=5_000, test=8_000)
    image_shape = (96, 96, 3)

    def _needs(self) -> str:
        return f'the folder {_Reader.base_folder}/ or the archive {_Reader.filename}'

    def _fetch(self) -> None:
        fetch_folder(
            folder=self._path(_Reader.base_folder),
            archive=self._path(_Reader.filename),
            url=_Reader.url,
            download=self.download,
            verify=self.verify,
        )

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        official = _Reader.train_list if self.split == 'train' else _Reader.test_list
        for name, md5 in official[:2]:
            require_file(self._path(_Reader.base_folder, name), self._md5(md5))
        path = self._path(_Reader.base_folder, f'{self.split}_X.bin or {self.split}_y.bin')
        with reading(path):
            reader = _Reader(self.data_root, self.split)
            images, labels = reader.data.transpose(0, 2, 3, 1), reader.labels.reshape(-1)
        require_samples(path, images, labels, self.image_shape, self.num_classes)
        return images, labels
