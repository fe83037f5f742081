"""Blocks that do not train now, and what those that do ask for."""

from collections.abc import Iterable, Iterator

from torch import nn

from ..splitters.unit import Part
from .build import neck_and_head


def resting_parts(classifier: nn.Module) -> Iterator[Part]:
    """The units and the losses' networks of every block that rests.

    Args:
        classifier (LocalImageClassifier): With its blocks and heads.
    """
    for k, units in enumerate(classifier.block_units):
        if k in classifier.active_blocks:
            continue
        for unit in units:
            # A Runner may have converted norm layers.
            yield from unit.within(classifier.backbone).all_parts.values()
        is_last = k == classifier.num_blocks - 1
        yield from neck_and_head(classifier) if is_last else [classifier.aux_heads[k]]


def need_images(classifier: nn.Module, blocks: Iterable[int]) -> bool:
    """Whether the aux head of one of the blocks needs the images.

    Args:
        classifier (LocalImageClassifier): With its heads.
        blocks (Iterable[int]): Numbers, of the last block too, which has none.
    """
    heads = classifier.aux_heads
    return any(heads[k].needs_image for k in blocks if k < len(heads))
