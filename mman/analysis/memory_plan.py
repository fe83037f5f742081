"""A memory plan: a config, backpropagation, recomputation and other K, predicted side by side."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from torch import nn

from mman.apis.memory_budget import plan_budget
from mman.apis.memory_prediction import MemoryReport, measure_memory, predict_memory
from mman.apis.models import build_local_model
from mman.models.recompute import Recompute
from mman.registry import TASK_UTILS, register_all_modules
from mman.utils.build_errors import named_errors
from mman.utils.errors import UserError

from .baselines import BASELINES

SMALLEST_BATCH = 2  # BatchNorm needs more than one value per channel.


@dataclass(frozen=True)
class Variant:
    """A config that could be trained, and the bytes of its training iteration."""

    name: str  #: What to call it.
    cfg: Config
    is_config: bool = False  #: Whether it is the user's own, unchanged.
    report: MemoryReport | None = None  #: The prediction; None if not made yet.
    #: Peak bytes of a real iteration; None if none was run, or it ran out of memory.
    measured: int | None = None
    parts: int = 1  #: Into how many parts a batch is cut.

    @property
    def recompute(self) -> str:
        """What is recomputed, as a word or names joined by '+'."""
        return _recompute_name(self.cfg.model.get('recompute', 'none'))

    @property
    def total(self) -> int:
        """Predicted peak bytes of device and host together."""
        return self.report.peak + self.report.host

    @property
    def flops(self) -> int:
        """Floating-point operations of a whole batch."""
        return self.report.flops * self.parts

    def breakdown(self, block: int | None = None) -> dict[str, int]:
        """Bytes by kind at the peak of a block, that which peaks highest for None.

        They sum up to it.
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
    """What :func:`plan_memory` found."""

    rows: list[Variant]  #: All variants that can be had, with their reports.
    batch_size: int  #: Images of a batch.
    budget: float | None  #: GiB that should suffice, if that was asked.
    device: str | None  #: Where iterations were measured, 'cuda' or 'cpu'.
    #: A line on each variant that cannot be had, and on what was chosen for the budget.
    notes: list[str]

    @property
    def bp(self) -> Variant | None:
        """The row of backpropagation that recomputes nothing, if it is there."""
        plain = (r for r in self.rows if len(r.report.blocks) == 1 and r.recompute == 'none')
        return next(plain, None)

    @property
    def config(self) -> Variant:
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
    # What accumulation does to BatchNorm is in the notes of the rows.
    MMLogger.get_instance('plan_memory', log_level='ERROR')
    register_all_modules()
    init_default_scope(cfg.get('default_scope', 'mman'))
    size = batch_size or train_batch(cfg, ': change it or give a batch size (--batch)')
    rows, notes = [], []
    for variant in variants(cfg):
        tell(f'predicting {variant.name}')
        try:
            report = predicted(variant.cfg, part_of_batch(size, variant.parts))
            rows.append(replace(variant, report=report))
        except UserError as error:
            if variant.is_config:
                raise
            notes.append(f'No row for {variant.name}: {error}')
    if budget is not None:
        tell(f'choosing for {budget:g} GiB')
        try:
            row, note = _chosen(cfg, budget, size)
            rows.append(row)
        except UserError as error:
            note = f'No row chosen for {budget:g} GiB: {error}'
        notes.append(note)
    device = None
    if measure:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        for k, row in enumerate(rows):
            tell(f'measuring {row.name} on {device}')
            rows[k] = measured(row, size, device)
    return MemoryOverview(rows, size, budget, device, notes)


def train_batch(cfg: Config, hint: str = '') -> int:
    """``train_dataloader.batch_size``.

    Raises:
        UserError: If it is missing or too small; ``hint`` ends the message.
    """
    size = (cfg.get('train_dataloader') or {}).get('batch_size')
    if not isinstance(size, int) or size < SMALLEST_BATCH:
        raise UserError(
            f'train_dataloader.batch_size={size!r} should be an integer from {SMALLEST_BATCH} '
            f'on{hint}'
        )
    return size


def part_of_batch(size: int, parts: int) -> int:
    """Images of one of so many equal parts of a batch.

    Raises:
        UserError: If there are no such parts of two images or more.
    """
    if size % parts or size // parts < SMALLEST_BATCH:
        raise UserError(f'a batch of {size} has no {parts} equal parts of two images or more')
    return size // parts


def variants(cfg: Config) -> list[Variant]:
    """What to compare ``cfg`` with, itself included, each once.

    All :data:`.BASELINES`; the config, and its K with recomputation of the
    units and of all; and the next smaller and larger K above 1.

    Raises:
        UserError: If the config has no local blocks, no ``optim_wrapper``, or
            its model cannot be built.
    """
    model = build_local_model(cfg)
    if cfg.get('optim_wrapper') is None:
        raise UserError('optim_wrapper is missing: the state of the optimizers takes memory too')
    count, own = model.num_blocks, cfg.model.get('recompute', 'none')
    wanted = [(count, own), (count, 'block'), (count, 'all')]
    wanted += [(other, own) for other in _neighbours(cfg, model)]
    listed = [(1, one.words, one.config(cfg), one.parts) for one in BASELINES]
    for num_blocks, recompute in wanted:
        name = 'BP' if num_blocks == 1 else f'K = {num_blocks}'
        name += f', recompute {_recompute_name(recompute)}' if Recompute(recompute).parts else ''
        changed = copy.deepcopy(cfg)
        changed.model.recompute = recompute
        if num_blocks != count:
            changed.model.splitter.num_blocks = num_blocks
        listed.append((num_blocks, name, changed, 1))
    found: dict[tuple, Variant] = {}
    for num_blocks, name, changed, parts in listed:
        key = _what_differs(changed, num_blocks, parts)
        is_config = key == _what_differs(cfg, count, 1)
        name += ' (config)' if is_config else ''
        variant = Variant(name, changed, is_config, parts=parts)
        found.setdefault(key, variant)
    return list(found.values())


def _what_differs(cfg: Config, num_blocks: int, parts: int) -> tuple:
    """What tells variants of one config apart."""
    model, wrapper = cfg.model, cfg.optim_wrapper.get('type')
    recomputed = Recompute(model.get('recompute', 'none')).parts
    return num_blocks, recomputed, model.get('save_on_cpu', False), wrapper, parts


def _recompute_name(recompute) -> str:
    return recompute if isinstance(recompute, str) else '+'.join(recompute) or 'none'


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

    ways = (range(model.num_blocks - 1, 1, -1), range(model.num_blocks + 1, most + 1))
    nearest = (next(filter(fits, way), None) for way in ways)
    return [other for other in nearest if other is not None]


def predicted(cfg: Config, batch_size: int) -> MemoryReport:
    """:func:`.predict_memory`; what a constructor raises names its place in the config.

    Raises:
        UserError: If it cannot be built or run.
    """
    with named_errors(cfg.to_dict(), ''):
        return predict_memory(cfg, batch_size)


def measured(row: Variant, batch_size: int, device: str) -> Variant:
    """The row with the peak bytes of a real iteration, None if memory ran out."""
    try:
        size = part_of_batch(batch_size, row.parts)
        return replace(row, measured=measure_memory(row.cfg, size, device))
    except torch.OutOfMemoryError:
        return row


def _chosen(cfg: Config, budget: float, size: int) -> tuple[Variant, str]:
    """The row chosen for a budget, and a line on it.

    Raises:
        UserError: If nothing fits.
    """
    limits = {key: value for key, value in (cfg.get('memory_budget') or {}).items() if key != 'gib'}
    plan = plan_budget(cfg, budget, size, **limits)
    changed = copy.deepcopy(cfg)
    plan.apply(changed)
    name = f'chosen for {budget:g} GiB: K = {len(plan.ends)}, recompute {plan.recompute}'
    return Variant(name, changed, report=plan.report), f'Of all splits that fit: {plan}'
