"""Random transforms of a whole batch of images, on the device it lies on."""

from abc import abstractmethod
from collections.abc import Callable
from numbers import Real

import torch
from mmengine.dist import get_dist_info
from torch import nn
from torchvision.transforms.functional import pad

from mman.registry import MODELS
from mman.utils import integer_from, one_of, should_be


def draw_per_rank(
    draw: Callable[[tuple[int, ...]], torch.Tensor], shape: tuple[int, ...]
) -> torch.Tensor:
    """Random numbers of a shape that differ between processes which have the same seed.

    mmengine gives all ranks one seed, so equal calls would transform the i-th
    image of every rank alike. Each rank draws, by ``draw(shape)``, for all of them and
    keeps its own.
    """
    rank, world_size = get_dist_info()
    return draw((world_size, *shape))[rank]


class BatchTransform(nn.Module):
    """Base class of what :class:`BatchAugmentDataPreprocessor` may apply in training.

    Every image of a batch must be transformed independently of the others. The
    randomness should come from torch's global generator of the images' device,
    through :func:`draw_per_rank`.
    """

    @abstractmethod
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Raw pixels (N, C, H, W), usually uint8, to new ones of the type, (N, C, H', W')."""


@MODELS.register_module()
class BatchRandomCrop(BatchTransform):
    """Pad every image and cut a window of its own size out of it at random.

    Each of the (2 * padding + 1)**2 windows is equally likely: the distribution
    of ``PadBorder`` followed by ``RandomCrop`` with the size of the image.

    Args:
        padding (int): Pixels on every border.
        padding_mode (str): 'reflect' (without repeating the edge) or
            'constant'. Defaults to 'reflect'.
        pad_val (Number): Value for 'constant', of all channels, from 0 to 255.
            Defaults to 0.

    Raises:
        UserError: If a key has a wrong value, or an image is too small to be
            reflected.
    """

    def __init__(self, padding: int, padding_mode: str = 'reflect', pad_val: Real = 0):
        super().__init__()
        integer_from(1, 'padding', padding, self)
        one_of('padding_mode', padding_mode, ('reflect', 'constant'), self)
        if not isinstance(pad_val, Real) or not 0 <= pad_val <= 255:
            raise should_be('pad_val', pad_val, 'a number from 0 to 255', self)
        self.padding, self.padding_mode, self.pad_val = padding, padding_mode, pad_val

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (N, C, H, W) of any type to windows of the same type and shape."""
        count, _, height, width = images.shape
        # All windows of all images, as a view: (N, C, top, left, H, W).
        windows = self._pad(images).unfold(2, height, 1).unfold(3, width, 1)
        device, choices = images.device, 2 * self.padding + 1
        top, left = draw_per_rank(
            lambda shape: torch.randint(choices, shape, device=device), (2, count)
        )
        return windows[torch.arange(count, device=device), :, top, left]

    def _pad(self, images: torch.Tensor) -> torch.Tensor:
        if self.padding_mode == 'reflect' and self.padding >= min(images.shape[2:]):
            right = f'less than a side of the images, {images.shape[2]} x {images.shape[3]}'
            raise should_be('padding', self.padding, right, self)
        return pad(images, self.padding, self.pad_val, self.padding_mode)


@MODELS.register_module()
class BatchRandomFlip(BatchTransform):
    """Mirror each image with a probability, left to right.

    The distribution of ``RandomFlip`` with ``direction='horizontal'``.

    Args:
        prob (float): Probability of each image to be mirrored, from 0 to 1.
            Defaults to 0.5.

    Raises:
        UserError: If ``prob`` has a wrong value.
    """

    def __init__(self, prob: float = 0.5):
        super().__init__()
        if not isinstance(prob, Real) or isinstance(prob, bool) or not 0 <= prob <= 1:
            raise should_be('prob', prob, 'a number from 0 to 1', self)
        self.prob = prob

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (N, C, H, W) of any type, some of them mirrored."""
        device = images.device
        drawn = draw_per_rank(lambda shape: torch.rand(shape, device=device), (len(images),))
        return torch.where((drawn < self.prob)[:, None, None, None], images.flip(3), images)
