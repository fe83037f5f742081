"""Arguments that the command-line tools share."""

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import DictAction

from mman.validation import LAUNCHERS


class OptionsAction(DictAction):
    """``KEY=VALUE`` pairs, with a malformed pair told as an argument error."""

    def __call__(self, parser, namespace, values, option_string=None):
        for pair in values or []:
            key, equals, _ = pair.partition('=')
            if not key or not equals:
                parser.error(f'{option_string} {pair!r} should have the form KEY=VALUE')
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, ValueError) as error:
            parser.error(f'{option_string}: {error}')


def config_parser(description: str) -> argparse.ArgumentParser:
    """A parser of a config file and changes to it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help='change values of the config, e.g. train_cfg.max_epochs=1 or a.list="[1,2]"',
    )
    return parser


def export_parser(description: str, out: str) -> argparse.ArgumentParser:
    """A parser of a config, a checkpoint, a new file and images to compare on.

    Args:
        description (str): What the tool does.
        out (str): What the new file should be.
    """
    parser = config_parser(description)
    parser.add_argument('checkpoint', type=existing_file, help='of training, or published')
    parser.add_argument('out', help=out)
    parser.add_argument(
        '--images', metavar='FOLDER', help='images to compare the export on [random pixels]'
    )
    return parser


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every tool that builds a Runner takes."""
    parser.add_argument(
        '--work-dir', help='folder of logs and checkpoints [./work_dirs/<name of the config>]'
    )
    parser.add_argument(
        '--launcher', choices=LAUNCHERS, default='none', help='starter of the processes [none]'
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument(
        '--unsafe-load',
        action='store_true',
        help='load checkpoints that can run code; only for files you trust',
    )


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what changes a training."""
    parser.add_argument(
        '--resume',
        nargs='?',
        const=True,
        type=existing_file,
        metavar='CHECKPOINT',
        help='continue from a checkpoint; without one, from the latest of the work dir, if any',
    )
    parser.add_argument('--amp', action='store_true', help='train in automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale learning rates by the total batch, from auto_scale_lr.base_batch_size',
    )
    parser.add_argument('--seed', type=seed, help='seed of all random numbers')


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every tool takes that loads a trained model."""
    parser.add_argument('checkpoint', type=existing_file, help='checkpoint file')
    default = 'cuda' if torch.cuda.is_available() else 'cpu'
    parser.add_argument(
        '--device', type=device, default=default, help='e.g. cpu or cuda:0 [%(default)s]'
    )
    parser.add_argument(
        '--unsafe-load',
        action='store_true',
        help='load checkpoints that can run code; only for files you trust',
    )


def add_result_arguments(
    parser: argparse.ArgumentParser, need_picture: bool = True, numbers: bool = True
) -> None:
    """Add the files that an analysis writes.

    Args:
        parser (ArgumentParser): The parser.
        need_picture (bool): Whether ``--out`` must be given. Defaults to True.
        numbers (bool): Whether there is ``--csv`` too. Defaults to True.
    """
    parser.add_argument(
        '--out', type=new_file('.png'), required=need_picture, help='new .png file for a picture'
    )
    if numbers:
        parser.add_argument('--csv', type=new_file('.csv'), help='new .csv file for the numbers')


def export_local_rank(local_rank: int) -> None:
    """Publish a launcher's ``--local_rank`` where mmengine looks for it."""
    os.environ.setdefault('LOCAL_RANK', str(local_rank))


def seed(text: str) -> int:
    """Type of ``--seed``: what random, numpy and torch all accept."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f'{text!r} should be an integer from 0 to 2**32 - 1')
    return int(text)


def at_least(minimum: int) -> Callable[[str], int]:
    """Type of an argument that is an integer from ``minimum`` on."""

    def check(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f'{text!r} should be an integer from {minimum} on')
        return int(text)

    return check


def above_zero(text: str) -> float:
    """Type of an argument that is a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} should be a number above 0')
    return value


def gib(text: str) -> float:
    """Type of an argument that is a number of GiB."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} should be a number of GiB above 0')
    return value


def device(text: str) -> str:
    """Type of ``--device``."""
    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(f'{text!r} cannot be used here: {reason}') from error
    return text


def folder(text: str) -> Path:
    """Type of an argument that names a folder, which may not exist yet."""
    if Path(text).exists() and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f'{text!r} is a file; it should be a folder')
    return Path(text)


def existing_file(text: str) -> str:
    """Type of an argument that names a file, or a place mmengine can load from."""
    if '://' not in text and not Path(text).expanduser().is_file():
        raise argparse.ArgumentTypeError(f'{text!r} does not exist or is not a file')
    return text


def new_file(*suffixes: str):
    """Type of an argument that names a file to write, which must not exist yet."""

    def check(text: str) -> str:
        path = Path(text)
        if path.suffix not in suffixes:
            raise argparse.ArgumentTypeError(f'{text!r} should end with {" or ".join(suffixes)}')
        if path.exists():
            raise argparse.ArgumentTypeError(f'{text!r} exists already and is not overwritten')
        if not path.absolute().parent.is_dir():
            raise argparse.ArgumentTypeError(f'the folder of {text!r} does not exist')
        return text

    return check


def tell(doing: str) -> None:
    """Show on stderr what takes its time."""
    print(f'... {doing}', file=sys.stderr, flush=True)
