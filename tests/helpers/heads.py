"""Aux heads on their own, and the batches that they are given."""

import torch
from mmpretrain.structures import DataSample

from mman.models.aux_heads import BlockContext, LocalBatch
from mman.registry import MODELS


def make_context(shape, image=(3, 16, 16), **kwargs):
    """The first of three blocks, ten classes, unless told otherwise."""
    values = dict(
        index=0,
        num_blocks=3,
        feature_shape=shape,
        next_units=(),
        input_shape=image,
        num_classes=10,
    )
    return BlockContext(**{**values, **kwargs})


def make_head(cfg, context):
    """The head of a config, always with the same weights."""
    torch.manual_seed(0)
    return MODELS.build(dict(cfg, context=context))


def make_batch(inputs, labels, *normalisation):
    """A LocalBatch with class indices."""
    samples = [DataSample().set_gt_label(label) for label in labels]
    return LocalBatch(inputs, samples, *normalisation)
