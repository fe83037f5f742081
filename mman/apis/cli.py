"""Arguments that the command-line tools share."""

import argparse
import os
from pathlib import Path

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


def export_local_rank(local_rank: int) -> None:
    """Publish a launcher's ``--local_rank`` where mmengine looks for it."""
    os.environ.setdefault('LOCAL_RANK', str(local_rank))


def seed(text: str) -> int:
    """Type of ``--seed``: what random, numpy and torch all accept."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f'{text!r} should be an integer from 0 to 2**32 - 1')
    return int(text)


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
