"""Peak bytes and arithmetic of any block that could be cut out of a backbone."""

import itertools
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from mmpretrain.structures import DataSample
from torch import nn

from mman.utils.fake_copy import fake_copy

from ..aux_heads import AuxHead, LocalBatch
from ..recompute import Recompute
from ..splitters.adapters import find_adapter
from ..splitters.unit import Unit
from .cost import Cost, measure

# Labels decide no shape.
_LABEL = 0


class BlockCosts:
    """Costs of blocks, put together from those of their units and losses.

    Every distinct unit and head is run once, when first asked for, on fake
    tensors: it takes no memory, no arithmetic and no GPU.

    Args:
        backbone (nn.Module): The network to cut.
        units (Sequence[Unit]): Its units, in order, with their output shapes.
        make_head (Callable): ``make_head(start, end)`` builds the aux head of
            the block from unit ``start`` to unit ``end``.
        neck_and_head (nn.Module): The networks of the last block's loss.
        last_loss (Callable): ``last_loss(neck_and_head, x, batch)`` gives a dict
            of losses.
        input_shape (tuple[int, int, int]): (C, H, W) of an image.
        batch_size (int): Images of a batch.
        recompute (Recompute): What is recomputed in the backward pass.
    """

    def __init__(
        self,
        backbone: nn.Module,
        units: Sequence[Unit],
        make_head: Callable[[int, int], AuxHead],
        neck_and_head: nn.Module,
        last_loss: Callable,
        input_shape: tuple[int, int, int],
        batch_size: int,
        recompute: Recompute,
    ):
        self.units = list(units)
        self.batch_size = batch_size
        self.recompute = recompute
        self._backbone = backbone
        self._make_head = make_head
        self._neck_and_head, self._last_loss = neck_and_head, last_loss
        self._shapes = [tuple(input_shape), *(unit.final_shape for unit in units)]
        self._measured: dict[tuple, Any] = {}
        # By end, and by start too where a head looks at the block's input.
        self._heads: dict[tuple[int | None, int], Cost] = {}
        # end -> whether the head there asks for the images in [0, 1]
        self._asks: dict[int, bool] = {}

    def head(self, start: int, end: int) -> Cost:
        """Cost of the loss of the block from unit ``start`` to unit ``end``."""
        for key in ((None, end), (start, end)):
            if key in self._heads:
                return self._heads[key]
        key = (None, end)
        if end == len(self.units) - 1:
            self._heads[key] = self._measure_last()
        else:
            head = self._make_head(start, end)
            key = (start if head.uses_block_input else None, end)
            self._heads[key] = self._measure_head(head, end)
        return self._heads[key]

    def unit(self, index: int, first: bool, last: bool) -> Cost:
        """Cost of one unit.

        The ``first`` of a block passes no gradient on; the output of the
        ``last`` is the next block's input and outlives the backward pass.
        """
        return self._units[index][first, last]

    def peak(self, start: int, end: int) -> int:
        """Peak bytes of one block from unit ``start`` to ``end``.

        Counted are its input, activations, gradients, its output, which the
        next block is given, and the images. Parameters and optimizer are not:
        they are alive whichever block runs.
        """
        costs = self._span(start, end)
        head, output = self.head(start, end), costs[-1].output
        kept = self.bytes_of(self._shapes[start])
        if end < len(self.units) - 1:
            # The images for the head: normalised, which are a first block's
            # input, and in [0, 1], if it asks.
            kept += self.bytes_of(self._shapes[0]) * (bool(start) + self._asks[end])
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
        with fake_copy(self._backbone) as copied:
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

    def _measure_head(self, head: AuxHead, end: int) -> Cost:
        context = head.context
        inputs = context.block_input_shape if head.uses_block_input else None
        key = (repr(head), context.feature_shape, inputs)
        if key not in self._measured:
            self._measured[key] = self._measure_loss(head, end)
        cost, self._asks[end] = self._measured[key]
        return cost

    def _measure_last(self) -> Cost:
        cost, _ = self._measure_loss(self._neck_and_head, len(self.units) - 1)
        return cost

    def _measure_loss(self, head: nn.Module, end: int) -> tuple[Cost, bool]:
        """Cost of a loss, and whether it asks for the images in [0, 1]."""
        with fake_copy(head) as copied:
            if isinstance(copied, AuxHead):
                self.recompute.apply_to_head(copied)
                loss = copied.loss
            else:
                self.recompute.apply_to_neck_and_head(copied)
                loss = partial(self._last_loss, copied)
            samples = [DataSample().set_gt_label(_LABEL) for _ in range(self.batch_size)]
            batch = LocalBatch(torch.empty(self.batch_size, *self._shapes[0]), samples)
            if isinstance(head, AuxHead):
                inputs = torch.empty(self.batch_size, *head.context.block_input_shape)
                batch = batch.for_block(inputs)
            x = torch.empty(self.batch_size, *self._shapes[end + 1], requires_grad=True)

            def total(x):
                losses = loss(x, batch)
                return sum(value for key, value in losses.items() if 'loss' in key)

            # What is made once per step is not part of a head's cost.
            with torch.no_grad():
                total(x)
            return measure(total, [copied], x), 'image' in batch.made
