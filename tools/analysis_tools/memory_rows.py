"""What a memory plan compares: a config, backpropagation, recomputation, other K."""

import copy
import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from mmengine.config import Config
from torch import nn

from mman.apis.memory_prediction import (
    MemoryReport,
    build_local_model,
    measure_memory,
    predict_memory,
)
from mman.models.recompute import Recompute
from mman.registry import TASK_UTILS
from mman.utils.errors import UserError


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
class Row(Variant):
    """A variant and the bytes of its training iteration.

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

    def parts(self, block: int | None = None) -> dict[str, int]:
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


def variants(cfg: Config) -> list[Variant]:
    """What to compare ``cfg`` with, itself included, each once.

    BP and BP with recomputation; the config, and its K with recomputation of
    the units and of all; and the next smaller and larger K above 1.

    Raises:
        UserError: If the config has no local blocks, no ``optim_wrapper``, or
            its model cannot be built.
    """
    with _one_line(cfg):
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


def predicted_row(variant: Variant, batch_size: int) -> Row:
    """The variant with its predicted bytes.

    Raises:
        UserError: If it cannot be built or run.
    """
    with _one_line(variant.cfg):
        report = predict_memory(variant.cfg, batch_size)
    return Row(variant.name, variant.cfg, variant.is_config, report)


def measured_row(row: Row, batch_size: int, device: str) -> Row:
    """The row with the peak bytes of a real iteration, None if memory ran out."""
    try:
        return dataclasses.replace(row, measured=measure_memory(row.cfg, batch_size, device))
    except torch.OutOfMemoryError:
        return row


def find_bp(rows: Iterable[Row]) -> Row | None:
    """The row of backpropagation, if it is there."""
    return next((row for row in rows if row.is_bp), None)


def find_config(rows: Iterable[Row]) -> Row:
    """The row of the user's own config."""
    return next(row for row in rows if row.is_config)


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


@contextmanager
def _one_line(cfg: Config) -> Iterator[None]:
    """Turn what registries and constructors raise into an error of one line."""
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        reason = ' '.join(str(error.args[0] if error.args else error).split())
        raise UserError(f'config {cfg.filename!r} cannot be tried out: {reason}') from error
