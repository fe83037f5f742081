"""Batch transforms have the distribution of their definition, image by image."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare

from mman.models import BatchRandomCrop, BatchRandomFlip
from mman.models.data_preprocessors import batch_transforms
from mman.utils import UserError
from tests.helpers.pictures import counted, outcomes

# Wider than 2 * padding + 1, or a window near one edge is the mirror image of another.
IMAGE = np.random.RandomState(0).randint(1, 256, (9, 8, 3)).astype(np.uint8)
# Seeds are fixed, so a test gives the same p-value every time.
LEAST_P = 1e-3
PER_OUTCOME = 60


def copies(count, image=IMAGE):
    return torch.from_numpy(image.transpose(2, 0, 1).copy()).expand(count, -1, -1, -1)


def crop_and_flip(images, padding=1, mode='reflect'):
    crop = BatchRandomCrop(padding=padding, padding_mode=mode)
    return BatchRandomFlip()(crop(images))


def assert_independent(first, second, kinds):
    """Numbers from 0 to kinds - 1, drawn in pairs."""
    table = np.zeros((kinds, kinds), int)
    np.add.at(table, (first, second), 1)
    assert chi2_contingency(table).pvalue > LEAST_P


@pytest.mark.parametrize('mode', ['reflect', 'constant'])
@pytest.mark.parametrize('padding', [1, 3])
def test_every_crop_and_flip_is_equally_likely(padding, mode):
    """All of them jointly: so rows, columns and flips do not depend on each other either."""
    numbers = outcomes(IMAGE, padding, mode, flips=True)
    assert len(numbers) == 2 * (2 * padding + 1) ** 2
    found = counted(crop_and_flip(copies(PER_OUTCOME * len(numbers)), padding, mode), numbers)
    assert chisquare(np.bincount(found, minlength=len(numbers))).pvalue > LEAST_P


@pytest.mark.parametrize('apart', [1, 2, 7])
def test_images_of_a_batch_are_independent(apart):
    numbers = outcomes(IMAGE, 1, 'reflect', flips=True)
    kinds = len(numbers)
    found = counted(crop_and_flip(copies(20 * kinds**2)), numbers)
    assert_independent(found[:-apart:2], found[apart::2][: len(found[:-apart:2])], kinds)


def test_batches_are_independent():
    numbers = outcomes(IMAGE, 1, 'reflect', flips=True)
    images = copies(20 * len(numbers) ** 2)
    first, second = (counted(crop_and_flip(images), numbers) for _ in range(2))
    assert_independent(first, second, len(numbers))


def test_ranks_with_one_seed_are_independent(monkeypatch):
    numbers = outcomes(IMAGE, 1, 'reflect', flips=True)
    images = copies(20 * len(numbers) ** 2)
    found = []
    for rank in range(2):
        monkeypatch.setattr(batch_transforms, 'get_dist_info', lambda rank=rank: (rank, 2))
        torch.manual_seed(3)
        found.append(counted(crop_and_flip(images), numbers))
    assert_independent(*found, len(numbers))


def test_each_image_keeps_its_place():
    images = torch.arange(50, dtype=torch.uint8)[:, None, None, None].expand(50, 3, 6, 6)
    out = crop_and_flip(images)
    torch.testing.assert_close(out, images, rtol=0, atol=0)
    assert out.dtype == torch.uint8 and out.is_contiguous()


@pytest.mark.parametrize('prob, share', [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_flip_probability(prob, share):
    images = copies(4000)
    out = BatchRandomFlip(prob=prob)(images)
    mirrored = (out == images.flip(3)).flatten(1).all(1)
    kept = (out == images).flatten(1).all(1)
    assert torch.all(mirrored ^ kept)
    assert mirrored.float().mean().item() == pytest.approx(share, abs=0.02 * (0 < share < 1))


@pytest.mark.parametrize('pad_val', [0, 9])
def test_constant_value(pad_val):
    crop = BatchRandomCrop(padding=4, padding_mode='constant', pad_val=pad_val)
    out = crop(torch.full((200, 1, 4, 4), 100, dtype=torch.uint8))
    assert set(out.unique().tolist()) == {pad_val, 100}


def test_the_input_is_left_alone():
    images = copies(8).clone()
    before = images.clone()
    crop_and_flip(images)
    assert torch.equal(images, before)


def test_the_global_seed_decides():
    images = torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8)
    torch.manual_seed(5)
    first, second = crop_and_flip(images), crop_and_flip(images)
    torch.manual_seed(5)
    assert torch.equal(first, crop_and_flip(images))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    'kind, keys, message',
    [
        (
            BatchRandomCrop,
            dict(padding=0),
            'padding=0 of BatchRandomCrop should be an integer from 1 on',
        ),
        (BatchRandomCrop, dict(padding=True), 'padding=True of BatchRandomCrop should be'),
        (BatchRandomCrop, dict(padding=1.0), r'padding=1\.0 of BatchRandomCrop should be'),
        (
            BatchRandomCrop,
            dict(padding=1, padding_mode='wrap'),
            "padding_mode='wrap' of BatchRandomCrop should be one of reflect",
        ),
        (
            BatchRandomCrop,
            dict(padding=1, pad_val=256),
            'pad_val=256 of BatchRandomCrop should be a number from 0',
        ),
        (
            BatchRandomCrop,
            dict(padding=1, pad_val=(1, 2, 3)),
            r'pad_val=\(1, 2, 3\) of BatchRandomCrop should be',
        ),
        (
            BatchRandomFlip,
            dict(prob=1.5),
            r'prob=1\.5 of BatchRandomFlip should be a number from 0 to 1',
        ),
        (BatchRandomFlip, dict(prob='half'), "prob='half' of BatchRandomFlip should be"),
    ],
)
def test_wrong_keys(kind, keys, message):
    with pytest.raises(UserError, match=message):
        kind(**keys)


def test_too_small_to_be_reflected():
    with pytest.raises(
        UserError,
        match='padding=8 of BatchRandomCrop should be less than a side of the images, 9 x 8',
    ):
        BatchRandomCrop(padding=8)(copies(2))
