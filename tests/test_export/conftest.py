"""Real pictures for the tests of exports."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from tests.helpers.converters import plain_digits, plain_scores
from tests.helpers.photos import write_photo_folder
from tests.helpers.trained_digits import (
    PICTURES,
    normalised,
    pictures,
    trained_digits,
    write_pictures,
)


@pytest.fixture(scope='session')
def digits(tmp_path_factory):
    """The checkpoint of a short training, its model, pictures, and their scores by mmpretrain.

    The scores are those of a plain classifier without anything of ours around it.
    """
    path, model = trained_digits()
    images, labels = pictures()
    images, labels = images[:PICTURES], labels[:PICTURES]
    scores = plain_scores(plain_digits(model.state_dict()), normalised(images))
    # Guessing gives 0.1.
    assert (scores.argmax(1).numpy() == labels).mean() > 0.5
    folder = tmp_path_factory.mktemp('pictures')
    return SimpleNamespace(
        path=str(path), model=model, images=images, scores=scores, folder=write_pictures(folder)
    )


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """100 photos, normalised as ImageNet's, (N, 3, 64, 64)."""
    root = tmp_path_factory.mktemp('photos')
    write_photo_folder(root, 20, 5)
    files = sorted((root / 'val').rglob('*.png'))
    assert len(files) == PICTURES
    pixels = np.stack([cv2.imread(str(file))[..., ::-1] for file in files]).astype(np.float32)
    pixels = (pixels - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
