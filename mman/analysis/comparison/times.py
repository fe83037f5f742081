"""The time that an iteration of every candidate takes, measured side by side."""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from mmengine.config import Config

from mman.apis.random_batch import RandomBatchTraining
from mman.utils.atomic_file import write_atomically

from ..memory_plan import part_of_batch
from ..timing import device_name, in_turns, timed
from .grid import Candidate

WARM_UP = 3
# Random images at the recipe's learning rate would diverge.
LEARNING_RATE = 1e-4


class WholeBatchTraining(RandomBatchTraining):
    """Its iteration takes a whole batch of random images, one part after the other."""

    def __init__(
        self,
        cfg: Config,
        batch_size: int,
        device: torch.device,
        hooks: Sequence[dict],
        parts: int,
    ):
        self.parts = parts
        super().__init__(cfg, part_of_batch(batch_size, parts), device, hooks)

    def step(self) -> None:
        """One step of the optimizers."""
        for _ in range(self.parts):
            super().step()


def training(candidate: Candidate, batch_size: int, device: torch.device) -> WholeBatchTraining:
    """The training iteration of a candidate."""
    cfg = copy.deepcopy(candidate.cfg)
    cfg.optim_wrapper.optimizer.lr = LEARNING_RATE
    # Hooks of the recipe are the same in all candidates.
    return WholeBatchTraining(cfg, batch_size, device, candidate.hooks, candidate.parts)


def kept_times(
    path: Path,
    candidates: Sequence[Candidate],
    batch_size: int,
    rounds: int,
    tell: Callable[[str], None],
) -> dict[str, list[float]]:
    """Seconds of an iteration by candidate, one a round, as a .json file has them.

    Where one is missing, or the device is another, all are measured anew and written there. All
    models are alive side by side and take turns. ``tell`` is called with a line on what is being
    done.
    """
    if path.is_file():
        found = json.loads(path.read_text())
        complete = all(len(found['seconds'].get(one.name, ())) == rounds for one in candidates)
        if complete and found['device'] == device_name():
            return found['seconds']
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    trials = {}
    for one in candidates:
        tell(f'warming up {one.name} on {device}')
        trials[one.name] = training(one, batch_size, device)
        for _ in range(WARM_UP):
            trials[one.name].step()
    tell(f'timing {rounds} rounds')
    seconds: dict[str, list[float]] = {name: [] for name in trials}
    for name in in_turns(list(trials), rounds):
        seconds[name].append(timed(trials[name].step, device))
    content = dict(device=device_name(), seconds=seconds)
    write_atomically(path, f'{json.dumps(content)}\n'.encode())
    return seconds
