"""Predicting after a few blocks, by the classifier of the last one's aux head."""

from collections.abc import Iterable, Iterator

import torch
from torch import nn

from mman.utils import UserError


def exit_blocks(model: nn.Module) -> list[int]:
    """Blocks of a local classifier after which classes can be predicted, the last one always."""
    blocks = [k for k, head in enumerate(model.aux_heads) if head.has_classifier]
    return [*blocks, model.num_blocks - 1]


def exit_logits(
    model: nn.Module, inputs: torch.Tensor, blocks: Iterable[int]
) -> Iterator[tuple[int, torch.Tensor]]:
    """Class scores after some blocks; no block behind the last of them is run.

    Args:
        model (LocalImageClassifier): In eval mode, unless scores of training
            are wanted.
        inputs (Tensor): Normalised images, (N, C, H, W).
        blocks (Iterable[int]): After which blocks, from 0; K - 1 is the
            classifier itself.

    Yields:
        tuple[int, Tensor]: Block and scores (N, num_classes) before softmax,
        in the order of the blocks.

    Raises:
        UserError: If a block is no exit; names those that are.
    """
    wanted = set(blocks)
    check_exits(model, wanted)
    x = inputs.contiguous(memory_format=model.memory_format)
    for block in model.local_blocks[: max(wanted, default=-1) + 1]:
        for layer in block.layers:
            x = layer(x)
        if block.index in wanted:
            yield block.index, _scores(model, block.index, x)


def check_exits(model: nn.Module, blocks: Iterable[int], where: str = '') -> None:
    """Refuse blocks that are no exits, of any model; ``where`` is put before the error.

    Raises:
        UserError: If one is not; names those that are.
    """
    if not hasattr(model, 'block_units'):
        raise UserError(
            f'model.type={type(model).__name__!r} has no early exits, only a LocalImageClassifier '
            'has'
        )
    known = exit_blocks(model)
    for block in blocks:
        if type(block) is not int or block not in known:
            raise UserError(
                f'{where}block {block!r} is no early exit of this model: those are '
                f'{", ".join(map(str, known))}, where the aux head has a classifier; '
                f'{model.num_blocks - 1} is the whole network'
            )


def _scores(model: nn.Module, block: int, x: torch.Tensor) -> torch.Tensor:
    if block < model.num_blocks - 1:
        return model.aux_heads[block].logits(x)
    features = (x,)
    return model.head(model.neck(features) if model.with_neck else features)
