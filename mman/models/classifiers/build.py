"""What a LocalImageClassifier builds from its parts: aux heads and blocks."""

from collections.abc import Mapping, Sequence
from functools import partial

from torch import nn

from mman.registry import MODELS
from mman.utils import UserError
from mman.utils.build import build_strict

from ..aux_heads import AuxHead, BlockContext
from ..splitters import Unit
from .acceleration import compile_modules, networks
from .local_block import LocalBlock, neck_and_head_loss


def neck_and_head(classifier: nn.Module) -> list[nn.Module]:
    """The classifier's own neck, if it has one, and head: they train the last block."""
    return [classifier.neck, classifier.head] if classifier.with_neck else [classifier.head]


def build_aux_heads(
    classifier: nn.Module,
    aux_head: dict | Sequence[dict] | None,
    block_units: Sequence[Sequence[Unit]],
) -> list[AuxHead]:
    """The K - 1 heads of a split, from ``model.aux_head``, which must fit it."""
    num_blocks, count = len(block_units), len(block_units) - 1
    if count and aux_head is None:
        raise UserError(
            f'model.aux_head is missing: {num_blocks} local blocks need an aux head each '
            'but the last; give its config, or num_blocks=1 for backpropagation'
        )
    if count and isinstance(aux_head, Sequence) and len(aux_head) != count:
        raise UserError(
            f'model.aux_head lists {len(aux_head)} heads, but {count} blocks have one '
            f'(num_blocks={num_blocks})'
        )
    units = [unit for block in block_units for unit in block]
    heads, start = [], 0
    for index, block in enumerate(block_units[:-1]):
        span = (start, start + len(block) - 1)
        heads.append(aux_head_at(classifier, aux_head, index, num_blocks, units, *span))
        start += len(block)
    return heads


def aux_head_at(
    classifier: nn.Module,
    aux_head: dict | Sequence[dict],
    index: int,
    num_blocks: int,
    units: Sequence[Unit],
    start: int,
    end: int,
) -> AuxHead:
    """The head of block ``index`` of ``num_blocks``, if it goes from unit ``start`` to ``end``."""
    context = BlockContext(
        index=index,
        num_blocks=num_blocks,
        feature_shape=units[end].output_shape,
        next_units=tuple(units[end + 1 :]),
        input_shape=classifier.input_shape,
        num_classes=classifier.num_classes,
        unit_init_cfg=classifier.backbone.init_cfg,
        end=end,
        num_extra_tokens=units[end].num_extra_tokens,
        block_input_shape=units[start - 1].output_shape if start else classifier.input_shape,
    )
    where = 'model.aux_head'
    if not isinstance(aux_head, Mapping):
        where, aux_head = f'{where}[{index}]', aux_head[index]
    return build_strict(MODELS, aux_head, where, AuxHead, context=context)


def build_local_blocks(classifier: nn.Module) -> tuple[LocalBlock, ...]:
    """The K blocks over the modules that the classifier has now.

    Its ``recompute`` and ``compile_options`` are applied to these modules, in place.
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
