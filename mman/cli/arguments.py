"""Arguments that the command-line tools share.

Nothing heavy is imported here, so that ``--help`` and a wrong argument take no time.
"""

import argparse
import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import DictAction

from mman.utils.arguments import LAUNCHERS
from mman.utils.errors import UserError
from mman.utils.new_file import check_new_file
from mman.utils.packaged_weights import packaged_weights

#: Stands for the weights that come with a config.
PRETRAINED = 'pretrained'


class OptionsAction(DictAction):
    """``KEY=VALUE`` pairs, with a malformed pair told as an argument error."""

    def __call__(self, parser, namespace, values, option_string=None):
        for pair in values:
            if pair.find('=') < 1:
                parser.error(f'{option_string} {pair!r} should have the form KEY=VALUE')
            if re.search(r'\{ *[\'"]|\bdict\(', pair):
                parser.error(
                    f'{option_string} {pair!r} has a dict: set its keys one by one, such as '
                    'custom_hooks.0.decay=0.9'
                )
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, ValueError) as error:
            parser.error(f'{option_string}: {error}')


def config_parser(description: str) -> argparse.ArgumentParser:
    """A parser of a config file and changes to it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file, or a name that `mman list` prints')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help='change values of the config, e.g. train_cfg.max_epochs=1 or a.list="[1,2]"',
    )
    parser.add_argument(
        '--data',
        action=DataAction,
        default=argparse.SUPPRESS,
        metavar='FOLDER',
        help='folder of your images, for a config with image_folder (docs/own_folder.md)',
    )
    return parser


class DataAction(argparse.Action):
    """``--data FOLDER``, short for ``--cfg-options image_folder.root=FOLDER``."""

    def __call__(self, parser, namespace, value, option_string=None):
        namespace.cfg_options = {**namespace.cfg_options, 'image_folder.root': value}


class CheckpointAction(argparse.Action):
    """A checkpoint behind its config; the word ``pretrained`` for the weights in the package."""

    def __call__(self, parser, namespace, value, option_string=None):
        try:
            found = packaged_weights(namespace.config) if value == PRETRAINED else value
        except UserError as error:
            parser.error(str(error))
        namespace.checkpoint = found


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoint that goes with a config."""
    text = f'of training, or published; or {PRETRAINED!r}, the weights that come with the config'
    parser.add_argument('checkpoint', type=checkpoint, action=CheckpointAction, help=text)


def export_parser(description: str, out: str, program: bool = True) -> argparse.ArgumentParser:
    """A parser of a config, a checkpoint, a new file and images to compare on.

    ``out`` says what the new file should be; ``program``, whether there is ``--input`` too.
    """
    parser = config_parser(description)
    add_checkpoint(parser)
    parser.add_argument('out', help=out)
    parser.add_argument(
        '--images', metavar='FOLDER', help='images to compare the export on [random pixels]'
    )
    if program:
        parser.add_argument(
            '--input',
            choices=('normalised', 'pixels'),
            default='normalised',
            help='float32 images normalised as in training, or uint8 pixels [normalised]',
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
    _add_unsafe_load(parser)


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
    add_checkpoint(parser)
    parser.add_argument(
        '--device', type=device, help='e.g. cpu or cuda:0 [cuda if there is a GPU, else cpu]'
    )
    _add_unsafe_load(parser)


def _add_unsafe_load(parser: argparse.ArgumentParser) -> None:
    text = 'load checkpoints that can run code; only for files you trust'
    parser.add_argument('--unsafe-load', action='store_true', help=text)


def add_result_arguments(
    parser: argparse.ArgumentParser, need_picture: bool = True, numbers: bool = True
) -> None:
    """Add the files that an analysis writes: ``--out``, which may be needed, and ``--csv``."""
    parser.add_argument(
        '--out', type=new_file('.png'), required=need_picture, help='new .png file for a picture'
    )
    if numbers:
        parser.add_argument('--csv', type=new_file('.csv'), help='new .csv file for the numbers')


def export_local_rank(local_rank: int) -> None:
    """Publish a launcher's ``--local_rank`` where mmengine looks for it."""
    os.environ.setdefault('LOCAL_RANK', str(local_rank))


def _number(kind: Callable, is_right: Callable, what: str) -> Callable[[str], Any]:
    """Type of an argument that is a number of a kind, told in words."""

    def check(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not is_right(value):
            raise argparse.ArgumentTypeError(f'{text!r} should be {what}')
        return value

    return check


def at_least(minimum: int) -> Callable[[str], int]:
    """Type of an argument that is an integer from ``minimum`` on."""
    return _number(int, lambda value: value >= minimum, f'an integer from {minimum} on')


#: Type of ``--seed``: what random, numpy and torch all accept.
seed = _number(int, lambda value: 0 <= value < 2**32, 'an integer from 0 to 2**32 - 1')
#: Type of an argument that is a number above 0.
above_zero = _number(float, lambda value: 0 < value < math.inf, 'a number above 0')
#: Type of an argument that is a number of GiB.
gib = _number(float, lambda value: 0 < value < math.inf, 'a number of GiB above 0')


def best_device() -> str:
    """Where models run if ``--device`` does not say it."""
    import torch

    return 'cuda' if torch.cuda.is_available() else 'cpu'


def device(text: str) -> str:
    """Type of ``--device``; torch is imported only where one is given."""
    import torch

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


def checkpoint(text: str) -> str:
    """Type of an argument that is an :func:`existing_file`, or :data:`PRETRAINED`."""
    return text if text == PRETRAINED else existing_file(text)


def new_file(*suffixes: str) -> Callable[[str], str]:
    """Type of an argument that names a file to write, which must not exist yet."""

    def check(text: str) -> str:
        try:
            check_new_file(text, *suffixes)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return text

    return check


def tell(doing: str) -> None:
    """Show on stderr what takes its time."""
    print(f'... {doing}', file=sys.stderr, flush=True)
