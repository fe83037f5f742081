"""The handwritten digits that scikit-learn contains."""

from collections.abc import Sequence

import mmcv
import numpy as np
from mmpretrain.datasets import BaseDataset

from mman.registry import DATASETS
from mman.utils import UserError

from .choosing import ChoosesSamples
from .key_checks import require_choice

# RandomState, since NumPy has frozen its stream; the split is the same anywhere.
_SPLIT_SEED = 0
_TEST_SHARE = 0.2
_HIGHEST_VALUE = 16
# All images are held in memory: 4 GiB of this size.
_LARGEST_SIZE = 1024


def _test_mask(labels: np.ndarray) -> np.ndarray:
    """True, of shape (N, ), for the samples held out of each class."""
    generator = np.random.RandomState(_SPLIT_SEED)
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        mask[members[: round(_TEST_SHARE * len(members))]] = True
    return mask


@DATASETS.register_module()
class Digits(ChoosesSamples, BaseDataset):
    """1,797 handwritten digits of 8 x 8, 10 classes; needs no file or network.

    20 % of each class, chosen once with the seed 0 whatever the seed of the run, are the test
    split: 1,438 train and 359 test images. The published values 0 to 16 are scaled to 0 to 255.

    Source: ``sklearn.datasets.load_digits``, the test part of the UCI data set
    "Optical Recognition of Handwritten Digits"

    Args:
        split (str): 'train' or 'test'. It alone selects the samples, not
            ``test_mode``. Defaults to 'train'.
        channels (int): Channels of ``img``, 3 (the grey value three times) or 1. Defaults to 3.
        image_size (int): Height and width of ``img`` in pixels; other than 8,
            the images are resized bilinearly. Defaults to 8.
        per_class (int | None): Draw as many samples of every class. Defaults to None, all.
        per_class_seed (int): What they are drawn with. Defaults to 0.
        **kwargs: Other keys of :class:`mmpretrain.datasets.BaseDataset` but those of files.

    Raises:
        UserError: If a key has a wrong value.
    """

    METAINFO = {'classes': tuple('0123456789')}
    #: Samples of every split.
    COUNTS = dict(train=1_438, test=359)

    def __init__(
        self,
        split: str = 'train',
        *,
        channels: int = 3,
        image_size: int = 8,
        per_class: int | None = None,
        per_class_seed: int = 0,
        indices: int | Sequence[int] | None = None,
        **kwargs,
    ):
        require_choice(self, 'split', split, ('train', 'test'))
        require_choice(self, 'channels', channels, (1, 3))
        if type(image_size) is not int or not 1 <= image_size <= _LARGEST_SIZE:
            raise UserError(
                f'Digits: image_size={image_size!r} must be a whole number from 1 to '
                f'{_LARGEST_SIZE}.'
            )
        self.split, self.channels, self.image_size = split, channels, image_size
        self.image_shape = (image_size, image_size, channels)
        self.choose_per_class(per_class, per_class_seed, indices)
        super().__init__(ann_file='', indices=indices, **kwargs)

    def known_length(self) -> int:
        """Samples that there will be; a UserError if ``indices`` names one that is not there."""
        return self.length_of(self.COUNTS[self.split])

    def load_data_list(self) -> list[dict]:
        """Per sample ``img``, uint8 of :attr:`image_shape`, and ``gt_label``, an int."""
        # Imported here, as it takes about a second and only this class needs it.
        from sklearn.datasets import load_digits

        values, labels = load_digits(return_X_y=True)
        chosen = _test_mask(labels) == (self.split == 'test')
        return [
            dict(img=self._image(row), gt_label=int(label))
            for row, label in zip(values[chosen], labels[chosen], strict=True)
        ]

    def _image(self, row: np.ndarray) -> np.ndarray:
        grey = np.rint(row.reshape(8, 8) * (255 / _HIGHEST_VALUE)).astype(np.uint8)
        if self.image_size != 8:
            grey = mmcv.imresize(grey, (self.image_size, self.image_size))
        return grey[..., None].repeat(self.channels, axis=-1)
