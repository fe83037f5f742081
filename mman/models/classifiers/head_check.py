"""Trying aux heads out on fake tensors when a model is built."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from mmpretrain.structures import DataSample
from torch import nn

from mman.utils import UserError
from mman.utils.build_errors import short
from mman.utils.fake_copy import FAKE_BATCH, NO_VALUES, fake_copy

from ..aux_heads import AuxHead, LocalBatch, MomentumAuxHead
from .local_block import neck_and_head_loss


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
