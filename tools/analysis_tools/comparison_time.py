"""Time of an iteration of a comparison's rows, measured side by side."""

import copy
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from comparison_grid import Row
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmpretrain.structures import DataSample

from mman.apis.memory_prediction import build_local_model
from mman.registry import HOOKS

WARM_UP = 3
# Random images at the recipe's learning rate would diverge.
LEARNING_RATE = 1e-4
# Only schedules of a hook see it; none is measured.
MAX_ITERS = 10**6


@dataclass(frozen=True)
class Times:
    """Measured times and where they are from.

    Args:
        device (str): What computed.
        seconds (dict[str, list[float]]): Per iteration, by row, one a round.
    """

    device: str
    seconds: dict[str, list[float]]


class Trainer:
    """The training iteration of a row without a Runner, on random images.

    Args:
        row (Row): What is trained.
        batch_size (int): Images of a batch.
        device (torch.device): Where.
    """

    def __init__(self, row: Row, batch_size: int, device: torch.device):
        torch.manual_seed(0)
        model = build_local_model(row.cfg)
        model.init_weights()
        model.to(device)
        wrapper_cfg = copy.deepcopy(row.cfg.optim_wrapper)
        wrapper_cfg.optimizer.lr = LEARNING_RATE
        optim_wrapper = build_optim_wrapper(model, wrapper_cfg)
        optim_wrapper.initialize_count_status(model, 0, MAX_ITERS)
        self._device = device
        self._data = _random_batch(row.cfg, batch_size)
        self._runner = SimpleNamespace(
            model=model,
            optim_wrapper=optim_wrapper,
            iter=0,
            max_iters=MAX_ITERS,
            logger=MMLogger.get_current_instance(),
        )
        # Hooks of the recipe are the same in every row.
        self._hooks = [HOOKS.build(copy.deepcopy(hook)) for hook in row.hooks]
        for hook in self._hooks:
            hook.before_train(self._runner)

    def step(self) -> None:
        """One iteration: preprocessing, all blocks and their steps, the method's hooks."""
        runner, data = self._runner, dict(self._data)
        outputs = runner.model.train_step(data, runner.optim_wrapper)
        for hook in self._hooks:
            hook.after_train_iter(runner, batch_idx=runner.iter, data_batch=data, outputs=outputs)
        runner.iter += 1

    def timed_step(self) -> float:
        """Seconds of one iteration."""
        self._finish()
        start = time.perf_counter()
        self.step()
        self._finish()
        return time.perf_counter() - start

    def _finish(self) -> None:
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)


def _random_batch(cfg: Config, count: int) -> dict:
    """Images and labels in host memory, as a data loader gives them."""
    images = torch.randint(0, 256, (count, *cfg.model.input_shape), dtype=torch.uint8)
    labels = torch.randint(0, cfg.model.head.num_classes, (count,)).tolist()
    samples = [DataSample().set_gt_label(label) for label in labels]
    return dict(inputs=images, data_samples=samples)


def measure_times(
    rows: Sequence[Row], batch_size: int, rounds: int, tell: Callable[[str], None]
) -> dict[str, list[float]]:
    """Seconds per iteration of every row, one a round.

    All models are alive side by side and take turns, another one first in
    every round, so that what slows the machine down slows all of them.

    Args:
        rows (Sequence[Row]): The rows.
        batch_size (int): Images of a batch.
        rounds (int): Times of each row.
        tell (Callable): Called with a line on what is being done.
    """
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    trainers = []
    for row in rows:
        tell(f'warming up {row.name} on {device}')
        trainers.append(Trainer(row, batch_size, device))
        for _ in range(WARM_UP):
            trainers[-1].step()
    tell(f'timing {rounds} rounds')
    seconds: dict[str, list[float]] = {row.name: [] for row in rows}
    for i in range(rounds):
        for place in range(len(rows)):
            k = (i + place) % len(rows)
            seconds[rows[k].name].append(trainers[k].timed_step())
    return seconds


def kept_times(
    path: Path, rows: Sequence[Row], batch_size: int, rounds: int, tell: Callable[[str], None]
) -> Times:
    """Times as a file has them; all are measured anew and written there if one is missing.

    Args:
        path (Path): A .json file.
        rows (Sequence[Row]): The rows, of configs that cannot change.
        batch_size (int): Images of a batch.
        rounds (int): Times of each row.
        tell (Callable): Called with a line on what is being done.
    """
    if path.is_file():
        found = Times(**json.loads(path.read_text()))
        complete = all(len(found.seconds.get(row.name, ())) == rounds for row in rows)
        if complete and found.device == device_name():
            return found
    times = Times(device_name(), measure_times(rows, batch_size, rounds, tell))
    unfinished = path.with_suffix('.tmp')
    unfinished.write_text(json.dumps(vars(times)) + '\n')
    os.replace(unfinished, path)
    return times


def device_name() -> str:
    """The GPU, or the CPU with its threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f'CPU, threads: {torch.get_num_threads()} of {os.cpu_count()} cores'
