"""Augmentation that draws from all three random generators."""

import random
import time

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mman.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ThreefoldNoise(BaseTransform):
    """Brighten an image by random numbers of Python, NumPy and torch.

    Args:
        pause_at (int | None): The sample of this process that takes long.
            Defaults to None.
        seconds (float): How long. Defaults to 60.
    """

    def __init__(self, pause_at=None, seconds=60):
        self.left, self.seconds = pause_at, seconds

    def transform(self, results):
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                time.sleep(self.seconds)
        draws = random.random() + np.random.rand() + torch.rand(()).item()
        image = results['img'].astype(np.float32) * (0.5 + draws / 3)
        results['img'] = image.clip(0, 255).astype(np.uint8)
        return results
