"""Padding of an image before a random crop."""

from collections.abc import Sequence
from numbers import Number

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform

from mman.registry import TRANSFORMS
from mman.utils import UserError

from .key_checks import require_choice


@TRANSFORMS.register_module()
class PadBorder(BaseTransform):
    """Pad all borders of an image, to be used before ``RandomCrop``.

    mmpretrain's RandomCrop ignores its ``padding_mode`` when ``padding`` is given and pads with a
    constant; and a single ``pad_val`` fills only the first channel there. Here both do what they
    say. Reads and changes ``img``, uint8 of shape (H, W) or (H, W, C), and sets ``img_shape``.

    Args:
        padding (int | Sequence[int]): Pixels on every border; or two numbers
            for left/right and top/bottom; or four for left, top, right, bottom.
        padding_mode (str): 'reflect' (without repeating the edge), 'symmetric'
            (repeating it), 'edge' or 'constant'. Defaults to 'reflect'.
        pad_val (Number | Sequence[Number]): Value for 'constant', in the range
            of the image; one for all channels or one for each. Defaults to 0.

    Raises:
        UserError: If a key has a wrong value.
    """

    def __init__(
        self,
        padding: int | Sequence[int],
        padding_mode: str = 'reflect',
        pad_val: Number | Sequence[Number] = 0,
    ):
        require_choice(
            self, 'padding_mode', padding_mode, ('reflect', 'symmetric', 'edge', 'constant')
        )
        self.padding = self._parse_padding(padding)
        self.padding_mode = padding_mode
        self.pad_val = pad_val

    def _parse_padding(self, padding: int | Sequence[int]) -> tuple[int, ...]:
        """Padding of the left, top, right and bottom border."""
        sides = tuple(padding) if isinstance(padding, Sequence) else (padding,) * 4
        sides = sides * 2 if len(sides) == 2 else sides
        if len(sides) != 4 or not all(isinstance(side, int) and side >= 0 for side in sides):
            raise UserError(
                f'{type(self).__name__}: padding={padding!r} must be one, two or four '
                'whole numbers of at least 0.'
            )
        return sides

    def _fill(self, channels: int) -> tuple[Number, ...]:
        fill = self.pad_val if isinstance(self.pad_val, Sequence) else (self.pad_val,) * channels
        if len(fill) != channels:
            raise UserError(
                f'{type(self).__name__}: pad_val={self.pad_val!r} must be one number or '
                f'one for each of the {channels} channels of the image.'
            )
        return tuple(fill)

    def transform(self, results: dict) -> dict:
        """Pad ``img``, and set ``img_shape``.

        Raises:
            UserError: If ``pad_val`` has another number of channels.
        """
        img = results['img']
        planes = img if img.ndim == 3 else img[..., None]
        padded = mmcv.impad(
            planes,
            padding=self.padding,
            pad_val=self._fill(planes.shape[-1]),
            padding_mode=self.padding_mode,
        )
        # OpenCV drops a channel axis of length 1.
        results['img'] = np.reshape(padded, padded.shape[:2] + img.shape[2:])
        results['img_shape'] = padded.shape[:2]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(padding={self.padding}, '
            f'padding_mode={self.padding_mode!r}, pad_val={self.pad_val})'
        )
