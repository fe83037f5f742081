"""The blocks before the first that trains, and batches of what they gave: features of a cache."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from mman.utils import UserError

from ..aux_heads import LocalBatch
from .checks import check_inputs


def prefix_digest(classifier: nn.Module, count: int | None = None) -> str:
    """SHA-256, in hex, of all parameters and buffers of the first ``count`` blocks.

    By default those before the first that trains.
    """
    count = classifier.trained_blocks[0] if count is None else count
    digest = hashlib.sha256()
    for units in classifier.block_units[:count]:
        for unit in units:
            for path, part in unit.within(classifier.backbone).all_parts.items():
                state = part.state_dict() if isinstance(part, nn.Module) else {'': part}
                for name, value in state.items():
                    value = value.detach().cpu().contiguous()
                    digest.update(f'{path} {name} {value.dtype} {tuple(value.shape)}'.encode())
                    digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@torch.no_grad()
def prefix_output(
    classifier: nn.Module,
    x: torch.Tensor,
    context: Callable[[nn.Module], AbstractContextManager],
    start: int = 0,
) -> torch.Tensor:
    """What the blocks before the first that trains give, as in a training step.

    Args:
        classifier (LocalImageClassifier): In train mode.
        x (Tensor): Raw pixels, (N, C, H, W), already augmented; or what block
            ``start - 1`` gave of them.
        context (Callable): ``optim_context`` of the wrapper of a block that trains.
        start (int): The block to begin with. Defaults to 0.
    """
    preprocessor = classifier.data_preprocessor
    if start:
        x = preprocessor.cast_data(x)
    else:
        x = preprocessor(dict(inputs=x), False)['inputs']
        check_inputs(x, classifier.input_shape)
    if x.ndim == 4:
        x = x.contiguous(memory_format=classifier.memory_format)
    for block in classifier.local_blocks[start : classifier.trained_blocks[0]]:
        with context(block):
            x = block.rest(x)
    return x


def has_features(data: Any) -> bool:
    """Whether a batch of a data loader is of :class:`mman.datasets.CachedFeatures`."""
    return isinstance(data, dict) and 'features' in data


def cached_input(classifier: nn.Module, data: dict) -> tuple[torch.Tensor, LocalBatch]:
    """What the first block that trains and the aux heads are given of a batch of features.

    ``data`` has ``features``, (N, ...); ``data_samples``; and ``inputs``, the augmented
    images that they are of, where a head needs them.

    Raises:
        UserError: If no block rests before the first that trains, or the last
            of them gives features of another shape.
    """
    preprocessor, first = classifier.data_preprocessor, classifier.trained_blocks[0]
    x = preprocessor.cast_data(data['features'])
    expected = classifier.block_units[first - 1][-1].final_shape if first else None
    if tuple(x.shape[1:]) != expected:
        raise UserError(
            f'train_dataloader.dataset gives cached features of shape {tuple(x.shape[1:])}, but '
            f'model.train_blocks={list(classifier.trained_blocks)} '
            + (f'starts with features of shape {expected}' if first else 'starts with images')
        )
    if x.ndim == 4:
        x = x.contiguous(memory_format=classifier.memory_format)
    images = data.get('inputs')
    if images is None:
        # The preprocessor makes labels and images together: here of next to nothing.
        images = torch.zeros(len(x), classifier.input_shape[0], 1, 1, dtype=torch.uint8)
    # Augmented already, hence not as in training.
    prepared = preprocessor(dict(inputs=images, data_samples=data['data_samples']), False)
    if 'inputs' not in data:
        return x, classifier.local_batch(None, prepared['data_samples'])
    images = prepared['inputs'].contiguous(memory_format=classifier.memory_format)
    check_inputs(images, classifier.input_shape)
    return x, classifier.local_batch(images, prepared['data_samples'])
