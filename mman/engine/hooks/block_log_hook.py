import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mman.models.classifiers.block_table import block_table
from mman.registry import HOOKS
from mman.utils import integer_from
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
        integer_from(1, 'interval', interval, self)
        self.interval = interval
        self.visualize = visualize
        self._losses = _Means()
        self._terms = _Means()
        self._at = (0, 0)

    def before_train(self, runner: Runner) -> None:
        """Print the block table."""
        runner.logger.info('Local blocks:\n' + block_table(unwrap(runner.model)))

    def after_train_iter(self, runner: Runner, batch_idx: int, *args, **kwargs) -> None:
        """Add this iteration's losses; write at the end of an interval."""
        model = unwrap(runner.model)
        if mesh_of(runner.model) is None:
            terms = [
                ((name, k), value)
                for k, one in model.block_terms.items()
                for name, value in one.items()
            ]
            if terms:
                names, values = zip(*terms, strict=True)
                self._terms.add(names, torch.stack(values))
        self._losses.add(model.active_blocks, model.block_losses)
        # Kept, because the runner has moved on when training ends.
        self._at = (runner.epoch + 1, runner.iter + 1)
        if self.every_n_inner_iters(batch_idx, self.interval):
            self._write(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Write what is left of the epoch, so that every epoch has a record of its own."""
        if self._losses:
            self._write(runner)

    # Training may end within an epoch.
    after_train = after_train_epoch

    def _write(self, runner: Runner) -> None:
        model = unwrap(runner.model)
        # The losses of a rank are those of its own part of the batch.
        losses = self._losses.take(data_group(runner.model))
        terms = self._terms.take()
        norms = runner.optim_wrapper.grad_norms()
        if not is_main_process():
            return
        epoch, step = self._at
        record = dict(epoch=epoch, iter=step, losses=_json_numbers(losses, model.num_blocks))
        if terms:
            record['terms'] = {
                name: _json_numbers(
                    {k: value for (other, k), value in terms.items() if other == name},
                    model.num_blocks,
                )
                for name in dict.fromkeys(name for name, _ in terms)
            }
        if norms is not None:
            norms = dict(zip(model.trained_blocks, norms.tolist(), strict=True))
            record['grad_norms'] = _json_numbers(norms, model.num_blocks)
        with (Path(runner.log_dir) / self.filename).open('a') as file:
            file.write(json.dumps(record) + '\n')
        if self.visualize:
            scalars = {f'block_loss/{k}': value for k, value in losses.items()}
            runner.visualizer.add_scalars(scalars, step=step)


class _Means:
    """Means, on the device, of values that come in groups: of the blocks that train together."""

    def __init__(self):
        self._sums: dict[tuple, tuple[torch.Tensor, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._sums)

    def add(self, group: tuple, values: torch.Tensor) -> None:
        """Add the values of one iteration; what is in one group is in no other."""
        total, count = self._sums.get(group, (0, 0))
        self._sums[group] = (total + values, count + 1)

    def take(self, ranks: Any = None) -> dict[Any, float]:
        """Means over iterations and ranks, of everything added; starts anew."""
        found = {}
        for group, (total, count) in self._sums.items():
            mean = total / count
            all_reduce(mean, op='mean', group=ranks)
            found |= zip(group, mean.tolist(), strict=True)
        self._sums = {}
        return found


def _json_numbers(values: Mapping[int, float], num_blocks: int) -> list[float | None]:
    """Values by block as a list of all, null where there is none or JSON has no number for it."""
    found = [values.get(k, math.nan) for k in range(num_blocks)]
    return [value if math.isfinite(value) else None for value in found]
