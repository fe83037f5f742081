"""What the benchmarks share."""

import argparse
import copy
import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import multiprocessing

from mman.analysis.baselines import BASELINES
from mman.apis import leave_processes
from mman.cli import arguments as cli
from mman.engine.standalone import StandaloneTraining
from mman.registry import register_all_modules
from mman.utils import UserError
from mman.utils.environment import environment

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
#: What the others of a case are compared with.
BASELINE = 'bp'
TIMEOUT = timedelta(minutes=5)  # of what a process waits for another


@dataclass(frozen=True)
class Variant:
    """One way to train: a config of this repository with keys overridden."""

    #: Network and split; only variants of one case are compared.
    case: str
    #: As in the table and in ``--only``: the method, and what differs from its config.
    variant: str
    #: File in ``configs/``.
    config: str
    #: Dotted keys and their values.
    options: dict = field(default_factory=dict)

    def load(self, options: dict | None = None) -> Config:
        """The config, with more keys overridden if given."""
        cfg = Config.fromfile(CONFIGS / self.config)
        # A copy, since merging takes '_delete_' out of it.
        cfg.merge_from_dict(copy.deepcopy({**self.options, **(options or {})}))
        return cfg

    def record(self) -> dict:
        """What says in a file which variant it is."""
        return asdict(self)


def ways_of_bp(case: str, config: str) -> list[Variant]:
    """Backpropagation, and all that it can do to need less memory."""
    found = []
    for way in BASELINES:
        options = {'model.recompute': way.recompute, 'model.save_on_cpu': way.save_on_cpu}
        if way.parts > 1:
            options['optim_wrapper.accumulative_counts'] = way.parts
        if way.backward_step:
            options['optim_wrapper.type'] = 'BackwardStepOptimWrapper'
        name = 'bp/recompute=block' if way.name == 'bp-checkpoint' else way.name
        found.append(Variant(case, name, config, options))
    return found


def chosen(variants: Sequence[Variant], only: Sequence[str] | None) -> list[Variant]:
    """The variants that ``--only`` names, all without it, and always the baseline.

    Raises:
        UserError: If a name is none of them.
    """
    names = list(dict.fromkeys(one.variant for one in variants))
    for name in only or ():
        if name not in names:
            raise UserError(f'--only {name!r} should be one of {", ".join(names)}')
    return [v for v in variants if only is None or v.variant in (BASELINE, *only)]


def baseline(records: Iterable[dict], record: dict, *same: str, **wanted: Any) -> dict:
    """What ``record`` is compared with: as it in the keys ``same``, and with these values."""
    wanted |= {key: record[key] for key in same}
    return next(r for r in records if all(r[key] == value for key, value in wanted.items()))


def add_arguments(parser: argparse.ArgumentParser, batch: int) -> None:
    """Add what the commands on variants take; ``batch`` is the default."""
    parser.add_argument('--batch', type=cli.at_least(2), default=batch, help=f'images [{batch}]')
    only = 'variants to measure beside bp [all]'
    parser.add_argument('--only', nargs='+', metavar='NAME', help=only)
    parser.add_argument('--out', type=cli.new_file('.json'), help='file for the raw output')


def prepare(name: str) -> None:
    """What a command needs before it builds anything."""
    # How every parameter was initialised would be logged otherwise.
    MMLogger.get_instance(name, log_level='WARNING')
    register_all_modules()


def require_cuda(argument: str) -> None:
    """Refuse an argument that needs a GPU where there is none.

    Raises:
        UserError: If torch sees none.
    """
    if not torch.cuda.is_available():
        raise UserError(f'{argument} needs a GPU, and torch sees none')


def warmed_up(
    make: Callable[[], StandaloneTraining], iterations: int, device: torch.device
) -> tuple[StandaloneTraining, int | None]:
    """A training after its first iterations, and the peak bytes of one more on a GPU.

    The bytes are all that this training has made live on its own.
    """
    on_gpu = device.type == 'cuda'
    before = torch.cuda.memory_allocated(device) if on_gpu else 0
    trainer = make()
    for _ in range(iterations):
        trainer.step()
    if not on_gpu:
        return trainer, None
    torch.cuda.reset_peak_memory_stats(device)
    trainer.step()
    return trainer, torch.cuda.max_memory_allocated(device) - before


def all_warmed_up(
    makes: Sequence[Callable[[], StandaloneTraining]], iterations: int, device: torch.device
) -> list[tuple[StandaloneTraining, int | None]]:
    """:func:`warmed_up` of several, all alive side by side."""
    if device.type == 'cuda':
        # Libraries take their workspaces now, not in the first one measured.
        warmed_up(makes[0], iterations, device)
    return [warmed_up(make, iterations, device) for make in makes]


def in_processes(work: Callable, args: tuple, world: int, backend: str = 'gloo') -> list[Any]:
    """What ``work(*args)``, ready for JSON, gives in each of so many processes of one group."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_run_rank, (world, backend, folder, work, args), nprocs=world)
        return [json.loads(Path(folder, f'rank{r}.json').read_text()) for r in range(world)]


def _run_rank(
    rank: int, world: int, backend: str, folder: str, work: Callable, args: tuple
) -> None:
    prepare(work.__name__)
    torch.set_num_threads(1)
    if backend == 'nccl':
        torch.cuda.set_device(rank)
    place = f'file://{folder}/rendezvous'
    dist.init_process_group(backend, place, TIMEOUT, world_size=world, rank=rank)
    Path(folder, f'rank{rank}.json').write_text(json.dumps(work(*args)))
    leave_processes()


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """First and third quartile."""
    return tuple(quantiles(values, n=4, method='inclusive')[::2])


def write(args: argparse.Namespace, records: list[dict]) -> None:
    """Write the raw output and what was measured with, if ``--out`` names a file."""
    if args.out:
        found = environment()
        known = {key: found[key] for key in ('python', 'versions', 'git', 'device')}
        command = shlex.join(['python', *sys.argv])
        content = dict(command=command, settings=vars(args), **known, records=records)
        Path(args.out).write_text(json.dumps(content, default=str) + '\n')
