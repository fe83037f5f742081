"""Choosing K, ends and recomputation so that a batch fits in a given memory."""

import copy
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from mmengine.config import Config
from torch import nn

from mman.models.classifiers.block_costs import BlockCosts
from mman.models.recompute import Recompute
from mman.models.splitters import LocalBlockSplitter
from mman.models.splitters.search import least_arithmetic, smallest_peak
from mman.registry import OPTIMIZERS, TASK_UTILS
from mman.utils import UserError

from .memory_prediction import MemoryReport, predict_memory
from .models import build_local_model

GIB = 2**30
_KEYS = ('gib', 'num_blocks', 'recompute')
_RECOMPUTE = ('none', 'block', 'all')


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

    The key is a dict: ``gib``, bytes per process in 2^30; ``num_blocks``, a
    list of the K to choose from, by default all from 2 on; ``recompute``, a
    list of values of ``model.recompute``, by default 'none', 'block' and 'all'.
    The batch is that of the train dataloader. What is chosen replaces
    ``model.splitter`` and ``model.recompute``, and the same config always gives
    the same choice.

    Raises:
        UserError: If a key is wrong, or nothing fits; then it names the largest
            batch that does.
    """
    budget = cfg.get('memory_budget')
    if budget is None:
        return
    if not isinstance(budget, Mapping) or 'gib' not in budget or not set(budget) <= set(_KEYS):
        raise UserError(
            f'memory_budget={budget!r} should be a dict with gib, and num_blocks and recompute '
            'if they are limited'
        )
    loader = cfg.get('train_dataloader') or {}
    if 'batch_size' not in loader:
        raise UserError('memory_budget needs train_dataloader.batch_size')
    plan = plan_budget(cfg, batch_size=loader['batch_size'], **budget)
    plan.apply(cfg)
    if not int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0))):
        print(plan, flush=True)


def plan_budget(
    cfg: Config,
    gib: float,
    batch_size: int,
    num_blocks: Sequence[int] | None = None,
    recompute: Sequence[str] = _RECOMPUTE,
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
    if isinstance(gib, bool) or not isinstance(gib, int | float) or not 0 < gib < math.inf:
        raise UserError(f'memory_budget.gib={gib!r} should be a number above 0')
    search = _Search(cfg, num_blocks, recompute)
    limit = int(gib * GIB)
    bp = search.predict(batch_size, [len(search.units) - 1], 'none')
    for _, ends, value in sorted(search.candidates(batch_size, limit)):
        report = search.predict(batch_size, ends, search.recompute[value])
        if report.peak <= limit:
            return MemoryPlan(report.ends, search.recompute[value], report, bp, gib, batch_size)
    raise UserError(
        f'memory_budget.gib={gib:g} is too small for batch {batch_size}: '
        + search.advice(batch_size, limit)
    )


class _Search:
    """All splits of one config, what they cost and what they are predicted to."""

    def __init__(self, cfg: Config, num_blocks: Sequence[int] | None, recompute: Sequence[str]):
        self.cfg = copy.deepcopy(cfg)
        self.aux_head = self.cfg.get('model', {}).get('aux_head')
        if self.aux_head is None:
            raise UserError('memory_budget needs model.aux_head: it chooses local blocks')
        if not (self.cfg.get('optim_wrapper') or {}).get('optimizer'):
            raise UserError('memory_budget needs optim_wrapper.optimizer: its state takes memory')
        kind = self.cfg.model.splitter.get('type')
        if TASK_UTILS.get(kind) is not LocalBlockSplitter:
            raise UserError(
                f'memory_budget chooses the ends of a LocalBlockSplitter, but '
                f'model.splitter.type={kind!r} has a rule of its own: leave one of them out'
            )
        self.stem = self.cfg.model.splitter.get('stem', 'fused')
        self.cfg.model.splitter = dict(type='LocalBlockSplitter', num_blocks=1)
        self.model = build_local_model(self.cfg)
        self.units = self.model.block_units[0]
        if not isinstance(recompute, list | tuple) or not recompute:
            raise UserError(f'memory_budget.recompute={recompute!r} should be a list of choices')
        self.recompute = list(recompute)
        for value in self.recompute:
            Recompute(value)
        self.num_blocks = self._checked_num_blocks(num_blocks)
        self.optimizer_factor = _optimizer_factor(self.cfg.optim_wrapper.optimizer)

    def candidates(self, batch_size: int, limit: float) -> Iterator[tuple[int, list[int], int]]:
        """(arithmetic, ends, number of the recompute value) of splits.

        For every K and value the one with the least arithmetic that is
        estimated to stay within the limit.
        """
        for value in range(len(self.recompute)):
            costs = self._costs(batch_size, value)
            for count in self.num_blocks:
                ends = self._within(costs, count, batch_size, limit)
                if ends is not None:
                    flops = sum(costs.flops(*span) for span in _spans(ends))
                    yield flops, ends, value

    def advice(self, batch_size: int, limit: int) -> str:
        """The largest batch that fits, or that none does."""
        fits, too_large = 1, batch_size
        while too_large - fits > 1:
            middle = (fits + too_large) // 2
            if self._smallest(middle)[0].peak <= limit:
                fits = middle
            else:
                too_large = middle
        if fits == 1:
            report, _, _ = self._smallest(2)
            return f'a batch of 2 takes {report.peak / GIB:.3g} GiB'
        report, ends, value = self._smallest(fits)
        return (
            f'the largest batch that fits is {fits}, with K={len(ends)} and recompute '
            f'{self.recompute[value]!r} ({report.peak / GIB:.3g} GiB)'
        )

    def predict(self, batch_size: int, ends: list[int], recompute: str) -> MemoryReport:
        """The prediction of one split."""
        self.cfg.model.splitter = dict(
            type='LocalBlockSplitter', ends=[self.units[end].name for end in ends]
        )
        self.cfg.model.recompute = recompute
        return predict_memory(self.cfg, batch_size)

    def _smallest(self, batch_size: int) -> tuple[MemoryReport, list[int], int]:
        """The split of the smallest estimated peak, and its prediction."""
        found = []
        for value in range(len(self.recompute)):
            costs = self._costs(batch_size, value)
            for count in self.num_blocks:
                ends = smallest_peak(costs, count, self.stem)
                found.append((self._estimate(costs, ends, batch_size), value, ends))
        _, value, ends = min(found)
        return self.predict(batch_size, ends, self.recompute[value]), ends, value

    def _costs(self, batch_size: int, value: int) -> BlockCosts:
        recompute = Recompute(self.recompute[value])
        # Heads in the middle have the weights of the middle.
        return BlockCosts(self.model, self.aux_head, recompute, self.units, 4, batch_size)

    def _within(
        self, costs: BlockCosts, count: int, batch_size: int, limit: float
    ) -> list[int] | None:
        """Least arithmetic within a limit on everything, what all heads hold included."""
        blocks = limit - self._steady(costs, [len(self.units) - 1], batch_size)
        ends = least_arithmetic(costs, count, self.stem, blocks)
        while ends is not None:
            excess = self._estimate(costs, ends, batch_size) - limit
            if excess <= 0:
                return ends
            blocks = max(costs.peak(*span) for span in _spans(ends)) - max(excess, 1)
            ends = least_arithmetic(costs, count, self.stem, blocks)
        return None

    def _estimate(self, costs: BlockCosts, ends: list[int], batch_size: int) -> int:
        """Estimated peak bytes of the whole iteration."""
        peak = max(costs.peak(*span) for span in _spans(ends))
        return peak + self._steady(costs, ends, batch_size)

    def _steady(self, costs: BlockCosts, ends: list[int], batch_size: int) -> int:
        """What is alive whichever block runs: weights, optimizer, the loader's batch."""
        tensors = list(self.model.state_dict().values())
        state = sum(t.numel() * t.element_size() for t in tensors)
        trained = sum(4 * p.numel() for p in self.model.parameters() if p.requires_grad)
        for end in ends[:-1]:
            head = costs.head(end)
            state, trained = state + head.state, trained + head.trained
        # A byte a pixel.
        images = batch_size * torch.Size(self.model.input_shape).numel()
        return int(state + self.optimizer_factor * trained + images)

    def _checked_num_blocks(self, num_blocks: Sequence[int] | None) -> list[int]:
        most = len(self.units) - 1 + (self.stem == 'own')
        if num_blocks is None:
            return list(range(2, most + 1))
        known = isinstance(num_blocks, Sequence) and all(
            isinstance(k, int) and 2 <= k <= most for k in num_blocks
        )
        if not num_blocks or not known:
            raise UserError(
                f'memory_budget.num_blocks={num_blocks!r} should be a list of integers from 2 to '
                f'{most}'
            )
        return list(num_blocks)


def _spans(ends: list[int]) -> list[tuple[int, int]]:
    """(first unit, last unit) of every block."""
    return list(zip([0, *(end + 1 for end in ends[:-1])], ends, strict=True))


def _optimizer_factor(optimizer: Mapping) -> float:
    """Bytes of optimizer state per byte of parameters."""
    parameter = nn.Parameter(torch.zeros(1024))
    built = OPTIMIZERS.build(dict(copy.deepcopy(optimizer), params=[parameter]))
    parameter.grad = torch.zeros_like(parameter)
    built.step()
    state = [v for v in built.state[parameter].values() if isinstance(v, torch.Tensor)]
    return sum(v.numel() for v in state) / parameter.numel()
