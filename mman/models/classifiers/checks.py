"""What the parts of a LocalImageClassifier must agree on."""

from collections.abc import Iterable, Sequence

import torch
from mmpretrain.models import ImageClassifier
from torch import nn

from mman.utils import UserError
from mman.utils.arguments import should_be

from ..aux_heads import AuxHead
from ..recompute import Recompute, head_parts

# Beyond what a network is trained on: a slip, which would fill the memory.
_LARGEST_SIDE = 2**14


def checked_input_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """``model.input_shape`` as (C, H, W), or a UserError."""
    sides = tuple(shape) if isinstance(shape, Sequence) else ()
    if len(sides) != 3 or not all(type(n) is int and 0 < n <= _LARGEST_SIDE for n in sides):
        right = f'(channels, height, width), each up to {_LARGEST_SIDE}'
        raise should_be('model.input_shape', shape, right)
    return sides


def checked_num_classes(classifier: ImageClassifier) -> int:
    """Classes of the head, which must be there; the data preprocessor must agree."""
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
    """``model.train_blocks``, or another list of different blocks, in order; all blocks of None."""
    if numbers is None:
        return tuple(range(num_blocks))
    known = isinstance(numbers, Sequence) and all(
        type(k) is int and 0 <= k < num_blocks for k in numbers
    )
    if not known or not numbers or len(set(numbers)) < len(numbers):
        right = f'None or a list of one or more different blocks, from 0 to {num_blocks - 1}'
        raise should_be(where, numbers, right)
    return tuple(sorted(numbers))


def check_recompute(recompute: Recompute, heads: Iterable[AuxHead], backbone: nn.Module) -> None:
    """Every part that the config names is there, and the backbone does not recompute by itself."""
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
    """The heads were built for images (N, *input_shape); say so before they fail."""
    if tuple(inputs.shape[1:]) != input_shape:
        raise UserError(
            f'model.input_shape={input_shape} differs from the training images, '
            f'{tuple(inputs.shape[1:])}'
        )
