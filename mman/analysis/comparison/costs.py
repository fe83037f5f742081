"""What an iteration of a candidate takes: predicted bytes and arithmetic, measured time."""

import copy
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mman.apis.memory_prediction import predict_memory
from mman.apis.models import build_local_model
from mman.apis.random_batch import RandomBatchTraining
from mman.utils.atomic_file import write_atomically
from mman.utils.build_errors import named_errors
from mman.utils.errors import UserError

from .grid import Candidate

WARM_UP = 3
# Random images at the recipe's learning rate would diverge.
LEARNING_RATE = 1e-4


@dataclass(frozen=True)
class IterationCost:
    """A training iteration, predicted.

    Args:
        peak (int): Bytes of live tensors at the peak.
        flops (int): Floating-point operations.
        parameters (int): Of backbone and heads, momentum units included.
        ends (tuple[str, ...]): The last unit of every block.
    """

    peak: int
    flops: int
    parameters: int
    ends: tuple[str, ...]


@dataclass(frozen=True)
class Times:
    """Measured times and where they are from.

    Args:
        device (str): What computed.
        seconds (dict[str, list[float]]): Per iteration, by candidate, one a round.
    """

    device: str
    seconds: dict[str, list[float]]


def predict_cost(candidate: Candidate, batch_size: int) -> IterationCost:
    """What an iteration takes, from one on fake tensors.

    Args:
        candidate (Candidate): What is trained.
        batch_size (int): Images of a batch.

    Raises:
        UserError: If it cannot be built or run; names the candidate.
    """
    try:
        with named_errors(candidate.cfg.model, 'model'):
            count = sum(p.numel() for p in build_local_model(candidate.cfg).parameters())
            report = predict_memory(candidate.cfg, batch_size)
    except UserError as error:
        raise UserError(f'{candidate.name} cannot be trained: {error}') from error
    return IterationCost(report.peak, report.flops, count, report.ends)


class TimedTraining(RandomBatchTraining):
    """The training iteration of a candidate, timed.

    Args:
        candidate (Candidate): What is trained.
        batch_size (int): Images of a batch.
        device (torch.device): Where.
    """

    def __init__(self, candidate: Candidate, batch_size: int, device: torch.device):
        cfg = copy.deepcopy(candidate.cfg)
        cfg.optim_wrapper.optimizer.lr = LEARNING_RATE
        # Hooks of the recipe are the same in all candidates.
        super().__init__(cfg, batch_size, device, candidate.hooks)
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
    candidates: Sequence[Candidate], batch_size: int, rounds: int, tell: Callable[[str], None]
) -> dict[str, list[float]]:
    """Seconds per iteration of every candidate, by name, one a round.

    All models are alive side by side and take turns, another one first in
    every round, so that what slows the machine down slows all of them.

    Args:
        candidates (Sequence[Candidate]): What is timed.
        batch_size (int): Images of a batch.
        rounds (int): Times of each.
        tell (Callable): Called with a line on what is being done.
    """
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    trials = []
    for one in candidates:
        tell(f'warming up {one.name} on {device}')
        trials.append(TimedTraining(one, batch_size, device))
        for _ in range(WARM_UP):
            trials[-1].step()
    tell(f'timing {rounds} rounds')
    seconds: dict[str, list[float]] = {one.name: [] for one in candidates}
    for i in range(rounds):
        for place in range(len(candidates)):
            k = (i + place) % len(candidates)
            seconds[candidates[k].name].append(trials[k].timed_step())
    return seconds


def kept_times(
    path: Path,
    candidates: Sequence[Candidate],
    batch_size: int,
    rounds: int,
    tell: Callable[[str], None],
) -> Times:
    """Times as a file has them; all are measured anew and written there if one is missing.

    Args:
        path (Path): A .json file.
        candidates (Sequence[Candidate]): What is timed, of configs that cannot change.
        batch_size (int): Images of a batch.
        rounds (int): Times of each.
        tell (Callable): Called with a line on what is being done.
    """
    if path.is_file():
        found = Times(**json.loads(path.read_text()))
        complete = all(len(found.seconds.get(one.name, ())) == rounds for one in candidates)
        if complete and found.device == device_name():
            return found
    times = Times(device_name(), measure_times(candidates, batch_size, rounds, tell))
    write_atomically(path, f'{json.dumps(vars(times))}\n'.encode())
    return times


def device_name() -> str:
    """The GPU, or the CPU with its threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f'CPU, threads: {torch.get_num_threads()} of {os.cpu_count()} cores'
