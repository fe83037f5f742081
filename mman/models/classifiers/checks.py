"""What the parts of a LocalImageClassifier must agree on, tried on fake tensors where need be."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import nn

from mman.utils import UserError, should_be
from mman.utils.build_errors import short
from mman.utils.fake_copy import FAKE_BATCH, NO_VALUES, fake_copy

from ..aux_heads import AuxHead, LocalBatch, MomentumAuxHead
from ..recompute import Recompute, head_parts
from .local_block import neck_and_head_loss

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


def placeholder_batch(
    count: int, input_shape: Sequence[int], with_image: bool = True
) -> LocalBatch:
    """A batch for a pass of fake tensors: of shapes, all of class 0."""
    samples = [DataSample().set_gt_label(0) for _ in range(count)]
    return LocalBatch(torch.empty(count, *input_shape), samples, with_image=with_image)


def check_neck_and_head(
    modules: nn.ModuleList, feature_shape: Sequence[int], neck: Any, head: Any
) -> None:
    """Run the neck and the head of the last block once, on fake tensors.

    ``feature_shape`` is what the backbone returns for one image; the configs ``neck``
    and ``head`` are for the message.

    Raises:
        UserError: If they do not fit the features; shows both.
    """
    with fake_copy(modules) as copied:
        features = torch.empty(FAKE_BATCH, *feature_shape, requires_grad=True)
        try:
            neck_and_head_loss(copied, features, placeholder_batch(FAKE_BATCH, feature_shape))
        except NO_VALUES:
            # It cannot be tried out.
            return
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f'model.neck={short(neck)} and model.head={short(head)} do not fit the features '
                f'{tuple(feature_shape)} of model.backbone, or each other: {error}'
            ) from error


def check_aux_heads(heads: Iterable[AuxHead], input_shape: tuple[int, int, int]) -> None:
    """Run the loss of every distinct aux head once, on fake tensors.

    Raises:
        UserError: If a head does not fit the features of its block, or does
            not return losses; names the head, the block and the shape.
    """
    tried = set()
    for head in heads:
        key = (repr(head), head.context.feature_shape)
        if key not in tried:
            tried.add(key)
            _try_head(head, input_shape)


def _try_head(head: AuxHead, input_shape: tuple[int, int, int]) -> None:
    context = head.context
    names = type(head).__name__
    if isinstance(head, MomentumAuxHead):
        names += f' with host {type(head.host).__name__}'
    where = f'aux head {names} of block {context.index}'
    with fake_copy(head) as copied:
        batch = placeholder_batch(FAKE_BATCH, input_shape, head.needs_image)
        batch = batch.for_block(torch.empty(FAKE_BATCH, *context.block_input_shape))
        features = torch.empty(FAKE_BATCH, *context.feature_shape, requires_grad=True)
        try:
            losses = copied.loss(features, batch)
        except NO_VALUES:
            # It cannot be tried out.
            return
        except Exception as error:
            raise UserError(
                f'{where} does not fit its input: the block gives {context.feature_shape}; {error}'
            ) from error
        trained = [
            key
            for key, value in (losses.items() if isinstance(losses, dict) else ())
            if 'loss' in key and isinstance(value, torch.Tensor) and value.requires_grad
        ]
    if not trained:
        raise UserError(
            f"{where} should return a dict of tensors with at least one 'loss' in its name that "
            f'depends on the features, but returned {losses!r}'
        )
