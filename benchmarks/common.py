"""What benchmarks of the memory and the time of an iteration share."""

import argparse
import json
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mmengine
import mmpretrain
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from mman.cli import arguments as cli
from mman.registry import register_all_modules
from mman.utils import UserError

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


def baseline(records: Iterable[dict], record: dict) -> dict:
    """The record that ``record`` is compared with."""
    return next(
        other
        for other in records
        if other['case'] == record['case'] and other['variant'] == BASELINE
    )


def add_arguments(parser: argparse.ArgumentParser, batch: int) -> None:
    """Add what both commands take; ``batch`` is the default."""
    parser.add_argument('--batch', type=cli.at_least(2), default=batch, help=f'images [{batch}]')
    parser.add_argument(
        '--only', nargs='+', metavar='NAME', help='variants to measure beside bp [all]'
    )
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


def write(args: argparse.Namespace, records: list[dict]) -> None:
    """Write the raw output, if ``--out`` names a file."""
    if args.out:
        text = json.dumps(dict(settings=vars(args), **environment(), records=records))
        Path(args.out).write_text(text + '\n')


def environment() -> dict:
    """What was measured with."""
    return dict(
        command=shlex.join(['python', *sys.argv]),
        machine=platform.machine(),
        cores=os.cpu_count(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        threads=torch.get_num_threads(),
        versions=dict(
            python=platform.python_version(),
            torch=torch.__version__,
            mmengine=mmengine.__version__,
            mmpretrain=mmpretrain.__version__,
        ),
    )
