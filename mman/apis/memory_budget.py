"""Choosing K, ends and recomputation so that a batch fits in a given memory."""

import copy
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from mmengine.config import Config

from mman.models.classifiers.block_costs import BlockCosts
from mman.models.recompute import Recompute
from mman.models.splitters import LocalBlockSplitter
from mman.models.splitters.search import cheapest, smallest_peak
from mman.registry import TASK_UTILS
from mman.utils import UserError, dict_at, should_be
from mman.utils.signature import check_keys
from mman.validation.values import check_kinds

from .distributed import launcher_rank
from .memory_prediction import GIB, MemoryReport, predict_memory
from .models import build_local_model

# What plan_budget is given, but not by the config.
_GIVEN = ('cfg', 'batch_size')

Recomputed = str | Sequence[str]


@dataclass(frozen=True)
class MemoryPlan:
    """What was chosen, and what it is predicted to take.

    Args:
        ends (tuple[str, ...]): The last unit of every block.
        recompute (str | Sequence[str]): ``model.recompute``.
        report (MemoryReport): The prediction.
        bp (MemoryReport): Of backpropagation, nothing recomputed.
        gib (float): The budget.
        batch_size (int): Images of a batch.
    """

    ends: tuple[str, ...]
    recompute: str | Sequence[str]
    report: MemoryReport
    bp: MemoryReport
    gib: float
    batch_size: int

    def __str__(self) -> str:
        return (
            f'memory_budget of {self.gib:g} GiB at batch {self.batch_size}: K={len(self.ends)}, '
            f'ends {" ".join(self.ends)}, recompute {self.recompute!r}; predicted peak '
            f'{self.report.peak / GIB:.3g} GiB and {self.report.flops / self.bp.flops:.2f} x the '
            f'arithmetic of backpropagation, which would take {self.bp.peak / GIB:.3g} GiB'
        )

    def apply(self, cfg: Config) -> None:
        """Write the choice into a config, as explicit ends."""
        cfg.model.splitter = dict(type=cfg.model.splitter.type, ends=list(self.ends))
        cfg.model.recompute = self.recompute


def apply_memory_budget(cfg: Config) -> None:
    """Do what the config's ``memory_budget`` asks, if it has one, and say so.

    The key is a dict of the arguments of :func:`plan_budget` but the config and
    the batch, which is that of the train dataloader. What is chosen replaces
    ``model.splitter`` and ``model.recompute``, and the same config always gives
    the same choice.

    Raises:
        UserError: If a key is wrong, or nothing fits; then it names the largest
            batch that does.
    """
    budget = cfg.get('memory_budget')
    if budget is None:
        return
    check_keys(dict_at('memory_budget', budget), 'memory_budget', plan_budget, _GIVEN, ())
    loader = cfg.get('train_dataloader') or {}
    if 'batch_size' not in loader:
        raise UserError('memory_budget needs train_dataloader.batch_size')
    plan = plan_budget(cfg, batch_size=loader['batch_size'], **budget)
    plan.apply(cfg)
    if launcher_rank(cfg) == 0:
        print(plan, flush=True)


def plan_budget(
    cfg: Config,
    gib: float,
    batch_size: int,
    num_blocks: Sequence[int] | None = None,
    recompute: Sequence[str | Sequence[str]] = ('none', 'block', 'all'),
) -> MemoryPlan:
    """The K, ends and recomputation with the least arithmetic that fit.

    Args:
        cfg (Config): With ``model`` (a LocalImageClassifier with one aux head
            for all blocks) and ``optim_wrapper``.
        gib (float): Budget of live tensors in 2^30 bytes. What kernels and the
            allocator take on top is not in it.
        batch_size (int): Images of a batch, from 2 on.
        num_blocks (Sequence[int] | None): The K to choose from. Defaults to
            all from 2 on.
        recompute (Sequence[str]): Values of ``model.recompute`` to choose
            from. Defaults to ('none', 'block', 'all').

    Raises:
        UserError: If an argument is wrong, or nothing fits; then it names the
            largest batch that does.
    """
    budget = dict(gib=gib, num_blocks=num_blocks, recompute=recompute)
    check_kinds(budget, 'memory_budget', plan_budget)
    if not 0 < gib:
        raise should_be('memory_budget.gib', gib, 'a number above 0')
    search, limit = _Search(cfg, batch_size, num_blocks, recompute), int(gib * GIB)
    for _, ends, value in sorted(search.candidates(batch_size, limit), key=itemgetter(0, 1)):
        report = search.predict(batch_size, ends, value)
        if report.peak <= limit:
            return MemoryPlan(report.ends, value, report, search.bp, gib, batch_size)
    raise UserError(
        f'memory_budget.gib={gib:g} is too small for batch {batch_size}: '
        + search.advice(batch_size, limit)
    )


class _Search:
    """All splits of one config, what they cost and what they are predicted to."""

    def __init__(
        self,
        cfg: Config,
        batch_size: int,
        num_blocks: Sequence[int] | None,
        recompute: Sequence[Recomputed],
    ):
        self.cfg = copy.deepcopy(cfg)
        if self.cfg.get('model', {}).get('aux_head') is None:
            raise UserError('memory_budget needs model.aux_head: it chooses local blocks')
        if not (self.cfg.get('optim_wrapper') or {}).get('optimizer'):
            raise UserError('memory_budget needs optim_wrapper.optimizer: its state takes memory')
        splitter = self.cfg.model.splitter
        if TASK_UTILS.get(splitter.get('type')) is not LocalBlockSplitter:
            raise UserError(
                'memory_budget chooses the ends of a LocalBlockSplitter, but model.splitter.type='
                f'{splitter.get("type")!r} has a rule of its own: leave one of them out'
            )
        self.stem = splitter.get('stem', 'fused')
        self.cfg.model.splitter = dict(type='LocalBlockSplitter', num_blocks=1)
        self.model = build_local_model(self.cfg)
        self.units = self.model.block_units[0]
        self.recompute = recompute
        if not recompute:
            raise should_be('memory_budget.recompute', recompute, 'a list of choices')
        for value in recompute:
            Recompute(value)
        most = len(self.units) - 1 + (self.stem == 'own')
        self.num_blocks = list(range(2, most + 1)) if num_blocks is None else num_blocks
        if not self.num_blocks or not all(2 <= k <= most for k in self.num_blocks):
            right = f'a list of integers from 2 to {most}'
            raise should_be('memory_budget.num_blocks', num_blocks, right)
        self.whole = [len(self.units) - 1]
        self.bp = self.predict(batch_size, self.whole, 'none')
        trained = sum(p.nbytes for p in self.model.parameters() if p.requires_grad)
        self.state_per_byte = self.bp.optimizer / trained

    def candidates(self, batch_size: int, limit: int) -> Iterator[tuple[int, list[int], str]]:
        """(arithmetic, ends, recompute) of splits.

        For every K and value the one with the least arithmetic that is
        estimated to stay within the limit.
        """
        for value, costs, count in self._choices(batch_size):
            ends = self._within(costs, count, limit)
            if ends is not None:
                yield _flops(costs, ends), ends, value

    def advice(self, batch_size: int, limit: int) -> str:
        """The largest batch that fits, or that none does."""
        sizes = range(2, batch_size)
        fitting = bisect_right(sizes, limit, key=lambda size: self._smallest(size)[0].peak)
        largest = sizes[fitting - 1] if fitting else 2
        report, value = self._smallest(largest)
        taken = f'{report.peak / GIB:.3g} GiB'
        if not fitting:
            return f'a batch of 2 takes {taken}'
        return (
            f'the largest batch that fits is {largest}, with K={len(report.ends)} and recompute '
            f'{value!r} ({taken})'
        )

    def predict(self, batch_size: int, ends: list[int], recompute: Recomputed) -> MemoryReport:
        """The prediction of one split."""
        names = [self.units[end].name for end in ends]
        self.cfg.model.splitter = dict(type='LocalBlockSplitter', ends=names)
        self.cfg.model.recompute = recompute
        return predict_memory(self.cfg, batch_size)

    def _choices(self, batch_size: int) -> Iterator[tuple[Recomputed, BlockCosts, int]]:
        """Every value of recompute with every K, and what blocks cost with that value."""
        for value in self.recompute:
            # Heads in the middle have the weights of the middle.
            costs = BlockCosts(
                self.model, self.cfg.model.aux_head, Recompute(value), self.units, 4, batch_size
            )
            yield from ((value, costs, count) for count in self.num_blocks)

    def _smallest(self, batch_size: int) -> tuple[MemoryReport, Recomputed]:
        """The prediction of the split of the smallest estimated peak, and its recompute."""
        found = []
        for value, costs, count in self._choices(batch_size):
            ends = smallest_peak(costs, count, self.stem)
            found.append((self._estimate(costs, ends), ends, value))
        _, ends, value = min(found, key=itemgetter(0))
        return self.predict(batch_size, ends, value), value

    def _within(self, costs: BlockCosts, count: int, limit: int) -> list[int] | None:
        """Little arithmetic within a limit on everything, what all heads hold included.

        If any split is estimated to fit, so is the one returned.
        """
        smallest = self._smallest_heads(costs, count, limit)
        if smallest is None:
            return None
        most = limit - self._steady(costs, smallest)
        while True:
            ends = cheapest(costs, count, self.stem, most, costs.flops)
            if ends is None or _flops(costs, ends) >= _flops(costs, smallest):
                return smallest
            if self._estimate(costs, ends) <= limit:
                return ends
            # What its heads hold is too much: others have other peaks.
            most = _peak(costs, ends) - 1

    def _smallest_heads(self, costs: BlockCosts, count: int, limit: int) -> list[int] | None:
        """Of the splits within the limit, one whose heads hold the least."""
        last = len(self.units) - 1

        def held(start: int, end: int) -> float:
            return 0 if end == last else self._held(costs, start, end)

        blocks = limit - self._steady(costs, self.whole)
        while True:
            ends = cheapest(costs, count, self.stem, blocks, held)
            if ends is None or self._estimate(costs, ends) <= limit:
                return ends
            # With smaller blocks the heads hold no less.
            blocks = limit - self._steady(costs, ends)

    def _estimate(self, costs: BlockCosts, ends: list[int]) -> int:
        """Estimated peak bytes of the whole iteration."""
        return _peak(costs, ends) + self._steady(costs, ends)

    def _steady(self, costs: BlockCosts, ends: list[int]) -> int:
        """What is alive whichever block runs: weights, optimizer, the loader's batch."""
        heads = sum(self._held(costs, *span) for span in _spans(ends)[:-1])
        # A byte a pixel.
        images = costs.batch_size * math.prod(self.model.input_shape)
        plain = self.bp.parameters + self.bp.buffers + self.bp.optimizer + images
        return plain + int(heads)

    def _held(self, costs: BlockCosts, start: int, end: int) -> float:
        """Bytes of the head of a block and its state of the optimizer."""
        head = costs.head(start, end)
        return head.state + self.state_per_byte * head.trained


def _peak(costs: BlockCosts, ends: list[int]) -> int:
    return max(costs.peak(*span) for span in _spans(ends))


def _flops(costs: BlockCosts, ends: list[int]) -> int:
    return sum(costs.flops(*span) for span in _spans(ends))


def _spans(ends: list[int]) -> list[tuple[int, int]]:
    """(first unit, last unit) of every block."""
    return list(zip([0, *(end + 1 for end in ends[:-1])], ends, strict=True))
