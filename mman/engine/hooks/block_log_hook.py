import json
import math
from pathlib import Path

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mman.models.classifiers.block_table import block_table
from mman.registry import HOOKS
from mman.utils import UserError
from mman.utils.unwrap import unwrap

from ..pipeline import data_group, mesh_of


@HOOKS.register_module()
class BlockLogHook(Hook):
    """Log what happens block by block, at a cost that does not grow with K.

    Prints the block table when training starts. Losses are summed on the
    device; once per interval, and at the end of every epoch, their means go to
    ``block_losses.jsonl`` beside the log file (one JSON object a line: epoch,
    iter, losses, terms by name where a loss has several, such as ``loss_task``
    and ``loss_reconstruction``, null in blocks that have one, but not in a
    pipeline, and grad_norms where gradients are clipped; null where a number
    is not finite or a block rests) and to the
    visualizer as ``block_loss/K``. The console keeps mmengine's own short line.

    Args:
        interval (int): Iterations between two records, counted from the start of
            the epoch. Defaults to 100.
        visualize (bool): Also send the losses to the visualizer. Defaults to
            True.
    """

    priority = 'BELOW_NORMAL'
    filename = 'block_losses.jsonl'

    def __init__(self, interval: int = 100, visualize: bool = True):
        if not isinstance(interval, int) or interval < 1:
            raise UserError(f'interval={interval!r} of BlockLogHook should be an integer from 1')
        self.interval = interval
        self.visualize = visualize
        self._sum: torch.Tensor | None = None
        self._count = 0
        self._terms = _TermSums()
        self._at = (0, 0)

    def before_train(self, runner: Runner) -> None:
        """Print the block table."""
        runner.logger.info('Local blocks:\n' + block_table(unwrap(runner.model)))

    def after_train_iter(self, runner: Runner, batch_idx: int, *args, **kwargs) -> None:
        """Add this iteration's losses; write at the end of an interval."""
        model = unwrap(runner.model)
        losses = model.block_losses
        if mesh_of(runner.model) is None:
            self._terms.add(model.block_terms)
        self._sum = losses if self._sum is None else self._sum + losses
        self._count += 1
        # Kept, because the runner has moved on when training ends.
        self._at = (runner.epoch + 1, runner.iter + 1)
        if self.every_n_inner_iters(batch_idx, self.interval):
            self._write(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Write what is left of the epoch, so that every epoch has a record of its own."""
        if self._count:
            self._write(runner)

    def after_train(self, runner: Runner) -> None:
        """Write what is left, if training ended within an epoch."""
        if self._count:
            self._write(runner)

    def _write(self, runner: Runner) -> None:
        mean = self._sum / self._count
        # The losses of a rank are those of its own part of the batch.
        all_reduce(mean, op='mean', group=data_group(runner.model))
        model = unwrap(runner.model)
        mean = _by_block(model, mean)
        terms = self._terms.means(self._count, model.num_blocks)
        norms = runner.optim_wrapper.grad_norms()
        self._sum, self._count = None, 0
        if not is_main_process():
            return
        epoch, step = self._at
        record = dict(epoch=epoch, iter=step, losses=_json_numbers(mean))
        if terms:
            record['terms'] = {name: _json_numbers(values) for name, values in terms.items()}
        if norms is not None:
            record['grad_norms'] = _json_numbers(_by_block(model, norms))
        with (Path(runner.log_dir) / self.filename).open('a') as file:
            file.write(json.dumps(record) + '\n')
        if self.visualize:
            scalars = {f'block_loss/{k}': mean[k] for k in model.trained_blocks}
            runner.visualizer.add_scalars(scalars, step=step)


def _by_block(model: torch.nn.Module, values: torch.Tensor) -> list[float]:
    """The values of the blocks that train as those of all K, NaN where one rests."""
    found = dict(zip(model.trained_blocks, values.tolist(), strict=True))
    return [found.get(k, math.nan) for k in range(model.num_blocks)]


class _TermSums:
    """Sums, on the device, of what makes up the losses of blocks."""

    def __init__(self):
        self._names: list[tuple[str, int]] = []
        self._sum: torch.Tensor | None = None

    def add(self, block_terms: dict[int, dict[str, torch.Tensor]]) -> None:
        """Add those of one iteration, by block and name."""
        if not block_terms:
            return
        self._names = [(name, k) for k, terms in block_terms.items() for name in terms]
        values = [value for terms in block_terms.values() for value in terms.values()]
        now = torch.stack(values)
        self._sum = now if self._sum is None else self._sum + now

    def means(self, count: int, num_blocks: int) -> dict[str, list[float]]:
        """Means over iterations and ranks, by name a list of all blocks; starts anew."""
        if self._sum is None:
            return {}
        mean, self._sum = self._sum / count, None
        all_reduce(mean, op='mean')
        found: dict[str, list[float]] = {}
        for (name, k), value in zip(self._names, mean.tolist(), strict=True):
            found.setdefault(name, [math.nan] * num_blocks)[k] = value
        return found


def _json_numbers(values: list[float]) -> list[float | None]:
    """The values with null for what JSON has no number for."""
    return [value if math.isfinite(value) else None for value in values]
