"""The digits' split is fixed and stratified; the images are scikit-learn's."""

import hashlib

import mmcv
import numpy as np
import pytest
from sklearn.datasets import load_digits

from mman.datasets import Digits

SIZES = [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
# Of the test split's images, then its labels.
TEST_MD5 = '41a4e7ae2ca01aa30d437aa8b47be48f'


def arrays(data):
    samples = [data[i] for i in range(len(data))]
    return np.stack([s['img'] for s in samples]), np.array([s['gt_label'] for s in samples])


def test_split_is_fixed():
    np.random.seed(123)
    images, labels = arrays(Digits('test'))
    assert np.bincount(labels).tolist() == SIZES
    assert hashlib.md5(images.tobytes() + bytes(labels.tolist())).hexdigest() == TEST_MD5


def test_splits_are_all_of_it():
    values, labels = load_digits(return_X_y=True)
    whole = np.rint(values * 255 / 16).astype(np.uint8)
    parts = [arrays(Digits(split, channels=1)) for split in ('train', 'test')]
    assert [len(part[0]) for part in parts] == [1438, 359]
    found = [
        (label, img.tobytes())
        for images, part_labels in parts
        for img, label in zip(images, part_labels, strict=True)
    ]
    expected = [(label, row.tobytes()) for label, row in zip(labels, whole, strict=True)]
    assert sorted(found) == sorted(expected)


def test_split_decides_not_test_mode():
    assert len(Digits('train', test_mode=True)) == 1438


@pytest.mark.parametrize('channels', [1, 3])
def test_channels_and_range(channels):
    images, _ = arrays(Digits(channels=channels, indices=50))
    assert images.shape == (50, 8, 8, channels) and images.dtype == np.uint8
    assert images.min() == 0 and images.max() == 255
    assert (images == images[..., :1]).all()


def test_image_size():
    small, large = Digits(indices=3)[2]['img'], Digits(indices=3, image_size=20)[2]['img']
    expected = mmcv.imresize(small, (20, 20), interpolation='bilinear')
    assert large.shape == (20, 20, 3)
    np.testing.assert_array_equal(large, expected)


@pytest.mark.parametrize(
    'keys, message',
    [
        (dict(split='val'), "Digits: split='val' must be one of 'train', 'test'"),
        (dict(channels=4), 'Digits: channels=4 must be one of 1, 3'),
        (dict(image_size=0), 'Digits: image_size=0 must be a whole number from 1 to 1024'),
        (dict(image_size=8.0), r'Digits: image_size=8\.0 must be a whole number'),
    ],
)
def test_wrong_keys(keys, message):
    with pytest.raises(ValueError, match=message):
        Digits(**keys)
