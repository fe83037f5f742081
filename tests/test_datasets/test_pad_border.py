"""PadBorder pads as numpy does, which the stock RandomCrop does not."""

import numpy as np
import pytest
from mmpretrain.datasets import RandomCrop

from mman.datasets import PadBorder

IMAGE = np.random.RandomState(0).randint(1, 256, (9, 7, 3)).astype(np.uint8)


def pad(img=IMAGE, **keys):
    return PadBorder(**keys)(dict(img=img))


@pytest.mark.parametrize('mode', ['reflect', 'symmetric', 'edge', 'constant'])
def test_equals_numpy(mode):
    results = pad(padding=4, padding_mode=mode)
    expected = np.pad(IMAGE, ((4, 4), (4, 4), (0, 0)), mode=mode)
    np.testing.assert_array_equal(results['img'], expected)
    assert results['img_shape'] == (17, 15)


def test_reflect_is_the_default_and_stock_crop_lacks_it():
    expected = np.pad(IMAGE, ((2, 2), (2, 2), (0, 0)), mode='reflect')
    np.testing.assert_array_equal(pad(padding=2)['img'], expected)
    stock = RandomCrop(crop_size=(13, 11), padding=2, padding_mode='reflect')
    assert not np.array_equal(stock(dict(img=IMAGE))['img'], expected)


@pytest.mark.parametrize(
    'padding, sides', [((1, 2), ((2, 2), (1, 1))), ([1, 2, 3, 4], ((2, 4), (1, 3)))]
)
def test_sides(padding, sides):
    expected = np.pad(IMAGE, (*sides, (0, 0)), mode='reflect')
    np.testing.assert_array_equal(pad(padding=padding)['img'], expected)


@pytest.mark.parametrize('pad_val, corner', [(9, [9, 9, 9]), ([1, 2, 3], [1, 2, 3])])
def test_constant_fills_every_channel(pad_val, corner):
    results = pad(padding=1, padding_mode='constant', pad_val=pad_val)
    assert results['img'][0, 0].tolist() == corner


@pytest.mark.parametrize('shape', [(6, 5), (6, 5, 1), (6, 5, 3)])
def test_keeps_the_axes(shape):
    assert pad(np.ones(shape, np.uint8), padding=1)['img'].shape == (8, 7, *shape[2:])


@pytest.mark.parametrize(
    'keys, message',
    [
        (dict(padding=-1), 'padding=-1 must be'),
        (dict(padding=(1, 2, 3)), r'padding=\(1, 2, 3\) must be one, two or four'),
        (dict(padding=None), 'padding=None must be'),
        (dict(padding=1, padding_mode='wrap'), "padding_mode='wrap' must be one of 'reflect'"),
        (dict(padding=1, padding_mode='constant', pad_val=(1, 2)), r'pad_val=\(1, 2\) must be one'),
    ],
)
def test_wrong_keys(keys, message):
    with pytest.raises(ValueError, match=message):
        pad(**keys)
