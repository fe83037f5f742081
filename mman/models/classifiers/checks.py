"""What the parts of a LocalImageClassifier must agree on."""

from collections.abc import Iterable, Sequence

import torch
from mmpretrain.models import ImageClassifier
from torch import nn

from mman.utils import UserError

from ..aux_heads import AuxHead
from ..recompute import Recompute, head_parts

# Beyond what a network is trained on: a slip, which would fill the memory.
_LARGEST_SIDE = 2**14


def checked_input_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """``model.input_shape`` as (C, H, W).

    Raises:
        UserError: If it is no such thing.
    """
    if (
        not isinstance(shape, Sequence)
        or len(shape) != 3
        or not all(type(n) is int and 0 < n <= _LARGEST_SIDE for n in shape)
    ):
        raise UserError(
            f'model.input_shape={shape!r} should be (channels, height, width), each up to '
            f'{_LARGEST_SIDE}'
        )
    return tuple(shape)


def checked_num_classes(classifier: ImageClassifier) -> int:
    """Classes of the head, which the data preprocessor must agree with.

    Raises:
        UserError: If there is no head, or they differ.
    """
    if not classifier.with_head:
        raise UserError('model.head is missing: the last block is trained by it')
    classes = getattr(classifier.head, 'num_classes', None)
    expected = getattr(classifier.data_preprocessor, 'num_classes', None)
    if expected is not None and classes is not None and classes != expected:
        raise UserError(
            f'model.head.num_classes={classes} differs from data_preprocessor.num_classes='
            f'{expected}'
        )
    return classes if classes is not None else expected


def checked_train_blocks(
    numbers: Sequence[int] | None, num_blocks: int, where: str = 'model.train_blocks'
) -> tuple[int, ...]:
    """``model.train_blocks``, or another such list, in order; all blocks of None.

    Raises:
        UserError: If it is no list of different blocks, or empty.
    """
    if numbers is None:
        return tuple(range(num_blocks))
    known = isinstance(numbers, Sequence) and all(
        type(k) is int and 0 <= k < num_blocks for k in numbers
    )
    if not known or not numbers or len(set(numbers)) < len(numbers):
        raise UserError(
            f'{where}={numbers!r} should be None or a list of one or more different '
            f'blocks, from 0 to {num_blocks - 1}'
        )
    return tuple(sorted(numbers))


def check_recompute(recompute: Recompute, heads: Iterable[AuxHead], backbone: nn.Module) -> None:
    """Every part that the config names is there, and nobody else recomputes.

    Raises:
        UserError: If a part is missing, or the backbone recomputes by itself.
    """
    parts = {'stem', 'units', 'classifier'}.union(*map(head_parts, heads))
    for name in recompute.listed:
        if name not in parts:
            raise UserError(
                f'model.recompute has {name!r}, but no aux head of this model has such a part'
            )
    if any(getattr(module, 'with_cp', False) for module in backbone.modules()):
        raise UserError(
            'model.backbone.with_cp=True would update running statistics twice a step: leave '
            "it out and set model.recompute='block'"
        )


def check_inputs(inputs: torch.Tensor, input_shape: tuple[int, int, int]) -> None:
    """The heads were built for one image size; say so before they fail.

    Raises:
        UserError: If the images (N, C, H, W) have another.
    """
    if tuple(inputs.shape[1:]) != input_shape:
        raise UserError(
            f'model.input_shape={input_shape} differs from the training images, '
            f'{tuple(inputs.shape[1:])}'
        )
