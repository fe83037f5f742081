"""What a LocalImageClassifier builds from its parts: blocks, and what blocks would cost."""

from collections.abc import Sequence
from functools import partial

from torch import nn

from ..aux_heads import HeadBuilder
from ..memory import BlockCosts
from ..recompute import Recompute
from ..splitters import Unit
from .acceleration import compile_modules, networks
from .local_block import LocalBlock, neck_and_head_loss


def neck_and_head(classifier: nn.Module) -> list[nn.Module]:
    """The classifier's own neck, if it has one, and head: they train the last block."""
    return [classifier.neck, classifier.head] if classifier.with_neck else [classifier.head]


def head_builder(classifier: nn.Module, aux_head: dict | Sequence[dict] | None) -> HeadBuilder:
    """Builds aux heads that fit the classifier.

    Args:
        classifier (LocalImageClassifier): With its backbone.
        aux_head (dict | Sequence[dict] | None): ``model.aux_head``.
    """
    return HeadBuilder(
        aux_head, classifier.input_shape, classifier.num_classes, classifier.backbone.init_cfg
    )


def build_local_blocks(classifier: nn.Module) -> tuple[LocalBlock, ...]:
    """The K blocks over the modules that the classifier has now, recomputed and compiled.

    Args:
        classifier (LocalImageClassifier): Its ``recompute`` and
            ``compile_options`` are applied to its modules, in place.
    """
    *inner, last = [
        [unit.within(classifier.backbone) for unit in units] for units in classifier.block_units
    ]
    recompute, modules = classifier.recompute, neck_and_head(classifier)
    # A bound method keeps the function that it was bound to, so these come before the blocks.
    recompute.apply_to_neck_and_head(modules)
    for head in classifier.aux_heads:
        recompute.apply_to_head(head)
    blocks = [
        LocalBlock(k, units, {f'aux_heads.{k}': head}, head.loss)
        for k, (units, head) in enumerate(zip(inner, classifier.aux_heads, strict=True))
    ]
    # The head first: optimizers number parameters in this order.
    named = dict(zip(('head', 'neck'), reversed(modules), strict=False))
    blocks.append(LocalBlock(len(inner), last, named, partial(neck_and_head_loss, modules)))
    for block in blocks:
        for unit, layer in zip(block.units, block.layers, strict=True):
            recompute.apply_to_unit(layer, unit.is_stem)
    if classifier.compile_options is not None:
        layers = [layer for block in blocks for layer in block.layers]
        heads = [network for head in classifier.aux_heads for network in networks(head)]
        compile_modules([*layers, *heads], classifier.compile_options)
    return tuple(blocks)


def block_costs(
    classifier: nn.Module,
    aux_head: dict,
    recompute: Recompute,
    units: Sequence[Unit],
    num_blocks: int,
    batch_size: int,
) -> BlockCosts:
    """What blocks cut out of the classifier's backbone would cost in training.

    Args:
        classifier (LocalImageClassifier): With its backbone, neck and head.
        aux_head (dict): Config of the aux head of every block. Loss weights
            that depend on the block are those in the middle.
        recompute (Recompute): What is recomputed.
        units (Sequence[Unit]): All units of the backbone, with shapes.
        num_blocks (int): K.
        batch_size (int): Images of a batch.

    Raises:
        UserError: If the aux heads are not alike.
    """
    heads = head_builder(classifier, aux_head)
    return BlockCosts(
        classifier.backbone,
        units,
        partial(heads.representative_head, num_blocks, units),
        nn.ModuleList(neck_and_head(classifier)),
        neck_and_head_loss,
        classifier.input_shape,
        batch_size,
        recompute,
    )
