"""A memory plan: a config, backpropagation, recomputation and other K, predicted side by side."""

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mman.apis.memory_budget import plan_budget
from mman.apis.memory_prediction import (
    MemoryReport,
    measure_memory,
    predict_memory,
)
from mman.apis.models import build_local_model
from mman.models.recompute import Recompute
from mman.registry import TASK_UTILS, register_all_modules
from mman.utils.build_errors import named_errors
from mman.utils.errors import UserError

SMALLEST_BATCH = 2  # BatchNorm needs more than one value per channel.


@dataclass(frozen=True)
class Variant:
    """A config that is to be compared.

    Args:
        name (str): What to call it.
        cfg (Config): The config.
        is_config (bool): Whether it is the user's own, unchanged.
    """

    name: str
    cfg: Config
    is_config: bool


@dataclass(frozen=True)
class VariantMemory(Variant):
    """A variant with the bytes of its training iteration.

    Args:
        report (MemoryReport): The prediction.
        measured (int | None): Peak bytes of a real iteration; None if none was
            run, or it ran out of memory. Defaults to None.
    """

    report: MemoryReport
    measured: int | None = None

    @property
    def num_blocks(self) -> int:
        """K."""
        return len(self.report.blocks)

    @property
    def recompute(self) -> str:
        """What is recomputed, as a word or names joined by '+'."""
        return _recompute_name(self.cfg.model.get('recompute', 'none'))

    @property
    def is_bp(self) -> bool:
        """Whether it is backpropagation that recomputes nothing."""
        return self.num_blocks == 1 and not Recompute(self.cfg.model.get('recompute', 'none')).parts

    def breakdown(self, block: int | None = None) -> dict[str, int]:
        """Bytes by kind at the peak of a block; they sum up to it.

        Args:
            block (int | None): Number of the block. Defaults to None, the one
                that peaks highest.
        """
        report = self.report
        peak = report.blocks[report.worst if block is None else block]
        return dict(
            parameters=report.parameters,
            gradients=peak.gradients,
            optimizer=report.optimizer,
            buffers=report.buffers,
            activations=peak.activations,
        )


@dataclass(frozen=True)
class MemoryOverview:
    """What :func:`plan_memory` found.

    Args:
        rows (list[VariantMemory]): All variants that can be had.
        batch_size (int): Images of a batch.
        budget (float | None): GiB that should suffice, if that was asked.
        device (str | None): Where iterations were measured, 'cuda' or 'cpu'.
        notes (list[str]): A line on each variant that cannot be had, and on
            what was chosen for the budget.
    """

    rows: list[VariantMemory]
    batch_size: int
    budget: float | None
    device: str | None
    notes: list[str]

    @property
    def bp(self) -> VariantMemory | None:
        """The row of backpropagation, if it is there."""
        return next((row for row in self.rows if row.is_bp), None)

    @property
    def config(self) -> VariantMemory:
        """The row of the user's own config."""
        return next(row for row in self.rows if row.is_config)


def plan_memory(
    cfg: Config,
    batch_size: int | None = None,
    budget: float | None = None,
    measure: bool = False,
    tell: Callable[[str], None] = lambda doing: None,
) -> MemoryOverview:
    """Predict the peak memory of a config's iteration and of what could be trained instead.

    Args:
        cfg (Config): Config of a LocalImageClassifier, with ``optim_wrapper``.
        batch_size (int | None): Images of a batch, 2 or more. Defaults to None,
            ``train_dataloader.batch_size``.
        budget (float | None): GiB to choose K, ends and recomputation for, within the
            limits of ``cfg.memory_budget``. Defaults to None, no choice.
        measure (bool): Whether to run an iteration of every row too, on the GPU
            if there is one. Defaults to False.
        tell (Callable): Called with a line on what is being done.

    Raises:
        UserError: If the config cannot be trained, or says no batch size.
    """
    register_all_modules()
    init_default_scope(cfg.get('default_scope', 'mman'))
    size = batch_size or _config_batch(cfg)
    rows, notes = [], []
    for variant in variants(cfg):
        tell(f'predicting {variant.name}')
        try:
            rows.append(predicted(variant, size))
        except UserError as error:
            if variant.is_config:
                raise
            notes.append(f'No row for {variant.name}: {error}')
    if budget is not None:
        tell(f'choosing for {budget:g} GiB')
        chosen, note = _chosen(cfg, budget, size)
        rows, notes = rows + chosen, [*notes, note]
    device = None
    if measure:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        for k, row in enumerate(rows):
            tell(f'measuring {row.name} on {device}')
            rows[k] = measured(row, size, device)
    return MemoryOverview(rows, size, budget, device, notes)


def variants(cfg: Config) -> list[Variant]:
    """What to compare ``cfg`` with, itself included, each once.

    BP and BP with recomputation; the config, and its K with recomputation of
    the units and of all; and the next smaller and larger K above 1.

    Raises:
        UserError: If the config has no local blocks, no ``optim_wrapper``, or
            its model cannot be built.
    """
    with named_errors(cfg.get('model') or {}, 'model'):
        model = build_local_model(cfg)
    if cfg.get('optim_wrapper') is None:
        raise UserError('optim_wrapper is missing: the state of the optimizers takes memory too')
    count, own = model.num_blocks, cfg.model.get('recompute', 'none')
    wanted = [(1, 'none'), (1, 'block'), (count, own), (count, 'block'), (count, 'all')]
    wanted += [(other, own) for other in _neighbours(cfg, model)]
    found: dict[tuple, Variant] = {}
    for num_blocks, recompute in wanted:
        key = (num_blocks, Recompute(recompute).parts)
        is_config = key == (count, Recompute(own).parts)
        changed = _changed(cfg, num_blocks if num_blocks != count else None, recompute)
        found.setdefault(key, Variant(_name(num_blocks, recompute, is_config), changed, is_config))
    return list(found.values())


def predicted(variant: Variant, batch_size: int) -> VariantMemory:
    """The variant with its predicted bytes.

    Raises:
        UserError: If it cannot be built or run.
    """
    with named_errors(variant.cfg.model, 'model'):
        report = predict_memory(variant.cfg, batch_size)
    return VariantMemory(variant.name, variant.cfg, variant.is_config, report)


def measured(row: VariantMemory, batch_size: int, device: str) -> VariantMemory:
    """The row with the peak bytes of a real iteration, None if memory ran out."""
    try:
        return dataclasses.replace(row, measured=measure_memory(row.cfg, batch_size, device))
    except torch.OutOfMemoryError:
        return row


def _config_batch(cfg: Config) -> int:
    """``train_dataloader.batch_size``."""
    size = (cfg.get('train_dataloader') or {}).get('batch_size')
    if not isinstance(size, int) or size < SMALLEST_BATCH:
        raise UserError(
            f'train_dataloader.batch_size={size!r} should be an integer from {SMALLEST_BATCH} on: '
            'change it or give a batch size (--batch)'
        )
    return size


def _chosen(cfg: Config, budget: float, size: int) -> tuple[list[VariantMemory], str]:
    """The row chosen for a budget, none where nothing fits, and a line on it."""
    limits = {key: value for key, value in (cfg.get('memory_budget') or {}).items() if key != 'gib'}
    try:
        plan = plan_budget(cfg, budget, size, **limits)
    except UserError as error:
        return [], f'No row chosen for {budget:g} GiB: {error}'
    changed = copy.deepcopy(cfg)
    plan.apply(changed)
    name = f'chosen for {budget:g} GiB: K = {len(plan.ends)}, recompute {plan.recompute}'
    return [VariantMemory(name, changed, False, plan.report)], str(plan)


def _neighbours(cfg: Config, model: nn.Module) -> list[int]:
    """The next smaller K, BP aside, and the next larger one that the splitter can do."""
    splitter = dict(cfg.model.splitter)
    if splitter.get('num_blocks') is None:
        return []
    if splitter.get('strategy') == 'memory':
        # It cuts into the same K, but after a search.
        splitter['strategy'] = 'uniform'
    most = sum(map(len, model.block_units))

    def fits(num_blocks: int) -> bool:
        try:
            changed = TASK_UTILS.build({**splitter, 'num_blocks': num_blocks})
            changed.split(model.backbone, model.input_shape)
        except UserError:
            return False
        return True

    smaller = next(filter(fits, range(model.num_blocks - 1, 1, -1)), None)
    larger = next(filter(fits, range(model.num_blocks + 1, most + 1)), None)
    return [other for other in (smaller, larger) if other is not None]


def _changed(cfg: Config, num_blocks: int | None, recompute) -> Config:
    """A copy with another K, unless that is None, and another recomputation."""
    changed = copy.deepcopy(cfg)
    changed.model.recompute = recompute
    if num_blocks == 1:
        changed.model.splitter = dict(type='LocalBlockSplitter', num_blocks=1)
    elif num_blocks is not None:
        changed.model.splitter.num_blocks = num_blocks
    return changed


def _name(num_blocks: int, recompute, is_config: bool) -> str:
    name = 'BP' if num_blocks == 1 else f'K = {num_blocks}'
    if Recompute(recompute).parts:
        name += f', recompute {_recompute_name(recompute)}'
    return name + (' (config)' if is_config else '')


def _recompute_name(recompute) -> str:
    return recompute if isinstance(recompute, str) else '+'.join(recompute) or 'none'
