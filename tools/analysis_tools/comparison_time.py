"""Time of an iteration of a comparison's rows, measured side by side."""

import copy
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from comparison_grid import Row

from mman.apis.trial import Trial

WARM_UP = 3
# Random images at the recipe's learning rate would diverge.
LEARNING_RATE = 1e-4


@dataclass(frozen=True)
class Times:
    """Measured times and where they are from.

    Args:
        device (str): What computed.
        seconds (dict[str, list[float]]): Per iteration, by row, one a round.
    """

    device: str
    seconds: dict[str, list[float]]


class Trainer(Trial):
    """The training iteration of a row, timed.

    Args:
        row (Row): What is trained.
        batch_size (int): Images of a batch.
        device (torch.device): Where.
    """

    def __init__(self, row: Row, batch_size: int, device: torch.device):
        cfg = copy.deepcopy(row.cfg)
        cfg.optim_wrapper.optimizer.lr = LEARNING_RATE
        # Hooks of the recipe are the same in every row.
        super().__init__(cfg, batch_size, device, row.hooks)
        self._device = device

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
