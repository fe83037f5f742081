"""What the benchmarks share."""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from mman.cli import arguments as cli
from mman.engine.standalone import StandaloneTraining
from mman.registry import register_all_modules
from mman.utils import UserError
from mman.utils.environment import environment

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
#: What the others of a case are compared with.
BASELINE = 'bp'


@dataclass(frozen=True)
class Variant:
    """One way to train: a config of this repository with keys overridden.

    Args:
        case (str): Network and split; only variants of one case are compared.
        name (str): As in the table and in ``--only``: the method, and what
            differs from its config.
        config (str): File in ``configs/``.
        options (dict): Dotted keys and their values. Defaults to none.
    """

    case: str
    name: str
    config: str
    options: dict = field(default_factory=dict)

    def load(self, options: dict | None = None) -> Config:
        """The config, with more keys overridden if given."""
        cfg = Config.fromfile(CONFIGS / self.config)
        cfg.merge_from_dict({**self.options, **(options or {})})
        return cfg

    def record(self) -> dict:
        """What says in a file which variant it is."""
        return dict(
            case=self.case, variant=self.name, config=self.config, options=dict(self.options)
        )


def chosen(variants: Sequence[Variant], only: Sequence[str] | None) -> list[Variant]:
    """The variants that ``--only`` names, all without it, and always the baseline.

    Raises:
        UserError: If a name is none of them.
    """
    names = list(dict.fromkeys(variant.name for variant in variants))
    for name in only or ():
        if name not in names:
            raise UserError(f'--only {name!r} should be one of {", ".join(names)}')
    return [v for v in variants if only is None or v.name in (BASELINE, *only)]


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
