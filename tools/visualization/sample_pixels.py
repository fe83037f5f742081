"""Training samples as pixels and names, after augmentation."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmpretrain.structures import DataSample
from torch import nn


@dataclass(frozen=True)
class Samples:
    """Images as a model is given them, normalisation undone.

    Args:
        images (Tensor): Uint8, (N, C, H, W), in the model's order of colours.
        names (list[str]): Their classes, N of them.
    """

    images: torch.Tensor
    names: list[str]


def as_samples(preprocessor: nn.Module, batch: dict, classes: Sequence[str] | None) -> Samples:
    """Pass a batch through a data preprocessor as in training, and undo its normalisation.

    Args:
        preprocessor (nn.Module): The model's; its mixup and CutMix are applied.
        batch (dict): From the data loader.
        classes (Sequence[str] | None): Names of the classes; None to use their
            numbers.
    """
    data = preprocessor(batch, True)
    images = data['inputs']
    if preprocessor._enable_normalize:
        images = images * preprocessor.std + preprocessor.mean
    pixels = images.round().clamp(0, 255).to(torch.uint8)
    return Samples(pixels, [label_name(sample, classes) for sample in data['data_samples']])


def label_name(sample: DataSample, classes: Sequence[str] | None) -> str:
    """The class of a sample, or those it was mixed from, the larger share first."""
    scores = sample.get('gt_score')
    if scores is None or (scores > 0).sum() == 1:
        label = sample.gt_label.item() if scores is None else scores.argmax().item()
        return _name(label, classes)
    shares = [
        f'{_name(label, classes)} {scores[label]:.2f}'
        for label in scores.argsort(descending=True).tolist()
        if scores[label] > 0
    ]
    return ' + '.join(shares)


def _name(label: int, classes: Sequence[str] | None) -> str:
    return str(label) if classes is None else str(classes[label])
