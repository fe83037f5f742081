"""A small data set in memory, and the outcomes that a random crop and flip can have."""

import numpy as np
from mmengine.dataset import BaseDataset


class Pictures(BaseDataset):
    """Random pictures; the label of each is its place.

    Args:
        count (int): How many.
        shape (tuple[int, ...]): (H, W, C) of each.
        **kwargs: Keys of mmengine's BaseDataset.
    """

    METAINFO = {'classes': ('a', 'b', 'c')}

    def __init__(self, count=20, shape=(6, 5, 3), **kwargs):
        self.count, self.shape = count, shape
        super().__init__(**kwargs)

    def load_data_list(self):
        rng = np.random.RandomState(0)
        images = rng.randint(0, 256, (self.count, *self.shape)).astype(np.uint8)
        return [dict(img=image, gt_label=i) for i, image in enumerate(images)]


def outcomes(image, padding, mode, flips):
    """Bytes of every (C, H, W) picture that may come out of one (H, W, C) picture, numbered.

    Made by NumPy alone: a row-major list of windows, then the same mirrored.
    """
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode=mode)
    windows = np.lib.stride_tricks.sliding_window_view(padded, image.shape)
    windows = windows.reshape(-1, *image.shape)
    if flips:
        windows = np.concatenate([windows, windows[:, :, ::-1]])
    numbers = {w.transpose(2, 0, 1).tobytes(): i for i, w in enumerate(windows)}
    assert len(numbers) == len(windows)
    return numbers


def counted(images, numbers):
    """The number of each (C, H, W) picture of a batch, refusing any that may not come out."""
    return np.array([numbers[image.tobytes()] for image in np.asarray(images)])
