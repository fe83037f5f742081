"""Data for the tests of the tools."""

import numpy as np

NUM_CLASSES = 3


def make_data(size, seed):
    """Images whose brightest channel tells the class, and labels that are wrong at times."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(NUM_CLASSES, size=size)
    images = rng.integers(0, 100, size=(size, 8, 8, 3), dtype=np.uint8)
    images[np.arange(size), :, :, labels] += 120
    wrong = rng.random(size) < 0.25
    labels[wrong] = rng.integers(NUM_CLASSES, size=wrong.sum())
    return images, labels
