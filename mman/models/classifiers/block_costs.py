"""Peak bytes and arithmetic of any block that could be cut out of a backbone."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property, partial

import torch
from torch import nn

from mman.utils import UserError
from mman.utils.fake_copy import fake_copy

from ..aux_heads import AuxHead
from ..cost import Cost, measure
from ..recompute import Recompute
from ..splitters.adapters import find_adapter
from ..splitters.unit import Unit
from .build import aux_head_at, neck_and_head
from .checks import placeholder_batch
from .local_block import neck_and_head_loss


class BlockCosts:
    """Costs of blocks, put together from those of their units and losses.

    Every distinct unit and head is run once, when first asked for, on fake
    tensors: it takes no memory, no arithmetic and no GPU.

    Args:
        classifier (LocalImageClassifier): With its backbone, neck and head.
        aux_head (dict): Config of the aux head of every block. Loss weights
            that depend on the block are those in the middle.
        recompute (Recompute): What is recomputed in the backward pass.
        units (Sequence[Unit]): All units of the backbone, with shapes.
        num_blocks (int): K.
        batch_size (int): Images of a batch.

    Raises:
        UserError: If there is not one config for all heads.
    """

    def __init__(
        self,
        classifier: nn.Module,
        aux_head: dict,
        recompute: Recompute,
        units: Sequence[Unit],
        num_blocks: int,
        batch_size: int,
    ):
        if not isinstance(aux_head, Mapping):
            raise UserError(
                "splitter.strategy='memory' compares blocks by the head they would have: give one "
                f'model.aux_head for all blocks, not {aux_head!r}'
            )
        self.units = list(units)
        self.batch_size = batch_size
        self.recompute = recompute
        self._classifier = classifier
        self._make_head = partial(
            aux_head_at, classifier, aux_head, (num_blocks - 1) // 2, num_blocks, self.units
        )
        self._shapes = [classifier.input_shape, *(unit.final_shape for unit in units)]
        self._measured: dict[tuple, Cost] = {}
        # Where a head does not look at the block's input, one will do for every start.
        self._head_by_end: dict[int, AuxHead] = {}
        # end -> whether the head there needs the images in [0, 1]
        self._needs_image: dict[int, bool] = {}
        #: Cost of the loss of the block from unit ``start`` to unit ``end``.
        self.head: Callable[[int, int], Cost] = cache(self._head)

    def unit(self, index: int, first: bool, last: bool) -> Cost:
        """Cost of one unit.

        The ``first`` of a block passes no gradient on; the output of the
        ``last`` is the next block's input and outlives the backward pass.
        """
        return self._units[index][first, last]

    def peak(self, start: int, end: int) -> int:
        """Peak bytes of one block from unit ``start`` to ``end``.

        Counted are its input, activations, gradients, output and the images. Parameters
        and optimizer are not: they are alive whichever block runs.
        """
        costs = self._span(start, end)
        head, output = self.head(start, end), costs[-1].output
        kept = self.bytes_of(self._shapes[start])
        if end < len(self.units) - 1:
            # The images for the head: normalised, which are a first block's
            # input, and in [0, 1].
            kept += self.bytes_of(self._shapes[0]) * (bool(start) + self._needs_image[end])
        peak = 0
        for cost in costs:
            peak = max(peak, kept + cost.forward)
            kept += cost.kept
        peak = max(peak, kept + head.forward, kept + head.backward)
        gradients, held = head.gradients, 0
        for cost in reversed(costs):
            kept -= cost.kept
            peak = max(peak, kept + cost.backward + gradients + held)
            gradients, held = gradients + cost.gradients, output
        return peak

    def flops(self, start: int, end: int) -> int:
        """Floating-point operations of one iteration of a block."""
        return sum(cost.flops for cost in self._span(start, end)) + self.head(start, end).flops

    def bytes_of(self, shape: Sequence[int]) -> int:
        """Bytes of a batch of samples of one shape, in float32."""
        return 4 * self.batch_size * torch.Size(shape).numel()

    def _span(self, start: int, end: int) -> list[Cost]:
        """Costs of the units of a block."""
        return [self.unit(i, i == start, i == end) for i in range(start, end + 1)]

    @cached_property
    def _units(self) -> list[dict[tuple[bool, bool], Cost]]:
        """Costs of all units, by whether they are first and last in a block."""
        found = []
        places = list(itertools.product((False, True), repeat=2))
        with fake_copy(self._classifier.backbone) as copied:
            for unit, shape in zip(find_adapter(copied)(copied), self._shapes, strict=False):
                found.append({place: self._measure_unit(unit, shape, *place) for place in places})
        return found

    def _measure_unit(self, unit: Unit, shape: tuple[int, ...], first: bool, last: bool) -> Cost:
        module = unit.module_with_output
        key = (repr(module), unit.is_stem, shape, first, last)
        if key not in self._measured:
            x = torch.empty(self.batch_size, *shape, requires_grad=not first)
            self.recompute.apply_to_unit(module, unit.is_stem)
            self._measured[key] = measure(module, [module], x, last)
        return self._measured[key]

    def _head(self, start: int, end: int) -> Cost:
        if end == len(self.units) - 1:
            modules = nn.ModuleList(neck_and_head(self._classifier))
            return self._measure_loss(modules, end)
        head = self._head_by_end.get(end)
        if head is None or head.uses_block_input:
            head = self._head_by_end[end] = self._make_head(start, end)
        self._needs_image[end] = head.needs_image
        context = head.context
        given = context.block_input_shape if head.uses_block_input else None
        key = (repr(head), context.feature_shape, given)
        if key not in self._measured:
            self._measured[key] = self._measure_loss(head, end)
        return self._measured[key]

    def _measure_loss(self, head: nn.Module, end: int) -> Cost:
        last = end == len(self.units) - 1
        with fake_copy(head) as copied:
            if last:
                self.recompute.apply_to_neck_and_head(copied)
            else:
                self.recompute.apply_to_head(copied)
            loss = partial(neck_and_head_loss, copied) if last else copied.loss
            batch = placeholder_batch(self.batch_size, self._shapes[0])
            if not last:
                given = torch.empty(self.batch_size, *head.context.block_input_shape)
                batch = batch.for_block(given)
            x = torch.empty(self.batch_size, *self._shapes[end + 1], requires_grad=True)

            def total(x):
                return sum(value for key, value in loss(x, batch).items() if 'loss' in key)

            return measure(total, [copied], x)
