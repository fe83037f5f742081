"""Images on their way to the heads that ask for them: as bytes where they were bytes."""

from collections.abc import Mapping

import torch
from mmpretrain.models import ClsDataPreprocessor

from mman.models import BatchAugmentDataPreprocessor
from mman.models.classifiers import LocalImageClassifier


def keeps_pixels(preprocessor: torch.nn.Module) -> bool:
    """Whether what it normalises is what it was given, moved about at most.

    Mixup and CutMix make other values, and a border is added after the normalisation.
    """
    return (
        type(preprocessor) in (ClsDataPreprocessor, BatchAugmentDataPreprocessor)
        and preprocessor.batch_augments is None
        and preprocessor.pad_size_divisor == 1
    )


def to_send(
    model: LocalImageClassifier, data: dict | tuple | list, images: torch.Tensor
) -> torch.Tensor:
    """The images that later stages are sent, of a batch of the data loader.

    Args:
        images (Tensor): What the preprocessor made of the batch, (N, C, H, W).

    Returns:
        Tensor: Their pixels in uint8, if the batch had such, else ``images``.
    """
    preprocessor = model.data_preprocessor
    if not (keeps_pixels(preprocessor) and _are_bytes(data, images)):
        return images
    if preprocessor._enable_normalize:
        images = images * preprocessor.std + preprocessor.mean
    # Far closer to the pixels than to their neighbours.
    return images.round().to(torch.uint8)


def as_sent(model: LocalImageClassifier, images: torch.Tensor) -> torch.Tensor:
    """The normalised images again, bit by bit, of what :func:`to_send` gave."""
    if images.dtype != torch.uint8:
        return images
    preprocessor = model.data_preprocessor
    images = images.float()
    if preprocessor._enable_normalize:
        images = (images - preprocessor.mean) / preprocessor.std
    return images


def _are_bytes(data: dict | tuple | list, images: torch.Tensor) -> bool:
    """Whether all images came as uint8, none of them smaller than the batch."""
    inputs = data.get('inputs') if isinstance(data, Mapping) else None
    if isinstance(inputs, torch.Tensor):
        inputs = [inputs[0]]
    return bool(inputs) and all(
        image.dtype == torch.uint8 and image.shape == images.shape[1:] for image in inputs
    )
