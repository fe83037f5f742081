"""Predict the peak memory of a config's training iteration and of what could be trained instead."""

import argparse
import copy
import math
import sys
from pathlib import Path

import torch
from memory_figure import draw
from memory_rows import Row, Variant, measured_row, predicted_row, variants
from memory_table import block_table, peak_table, write_csv
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mman import apis
from mman.apis.memory_budget import plan_budget
from mman.registry import register_all_modules
from mman.utils.errors import UserError, one_line_errors

SMALLEST_BATCH = 2  # BatchNorm needs more than one value per channel.
NOTE = (
    'Counted are live tensors: workspaces of kernels and what an allocator keeps in reserve come '
    'on top.'
)


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = apis.config_parser(__doc__)
    parser.add_argument(
        '--batch',
        type=batch_size,
        metavar='N',
        help='images of a batch, 2 or more [train_dataloader.batch_size]',
    )
    parser.add_argument(
        '--budget',
        type=gib,
        metavar='G',
        help='mark what fits into so many GiB, and choose K, ends and recomputation for it [none]',
    )
    parser.add_argument(
        '--measure',
        action='store_true',
        help='run every row, on the GPU if there is one, and measure it too',
    )
    parser.add_argument('--out', type=apis.new_file('.png'), help='new .png file for a picture')
    parser.add_argument('--csv', type=apis.new_file('.csv'), help='new .csv file for all bytes')
    return parser


def batch_size(text: str) -> int:
    """Type of ``--batch``."""
    if not text.isdecimal() or int(text) < SMALLEST_BATCH:
        raise argparse.ArgumentTypeError(
            f'{text!r} should be an integer from {SMALLEST_BATCH} on: BatchNorm needs more than '
            'one image'
        )
    return int(text)


def gib(text: str) -> float:
    """Type of ``--budget``."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} should be a number of GiB above 0')
    return value


def config_batch(cfg: Config) -> int:
    """``train_dataloader.batch_size`` of a config.

    Raises:
        UserError: If it is missing or below 2.
    """
    size = (cfg.get('train_dataloader') or {}).get('batch_size')
    if not isinstance(size, int) or size < SMALLEST_BATCH:
        raise UserError(
            f'train_dataloader.batch_size={size!r} should be an integer from {SMALLEST_BATCH} on: '
            'change it or give --batch'
        )
    return size


def predict_all(wanted: list[Variant], size: int) -> tuple[list[Row], list[str]]:
    """Rows of all variants, and a line on each that cannot be had.

    Raises:
        UserError: If it is the config itself that cannot be had.
    """
    rows, notes = [], []
    for variant in wanted:
        _tell(f'predicting {variant.name}')
        try:
            rows.append(predicted_row(variant, size))
        except UserError as error:
            if variant.is_config:
                raise
            notes.append(f'No row for {variant.name}: {error}')
    return rows, notes


def chosen_rows(cfg: Config, budget: float, size: int) -> tuple[list[Row], list[str]]:
    """The row 'chosen for G GiB', or a line that says why there is none.

    Args:
        cfg (Config): The config; its ``memory_budget`` may limit the choice.
        budget (float): GiB.
        size (int): Images of a batch.
    """
    _tell(f'choosing for {budget:g} GiB')
    limits = {key: value for key, value in (cfg.get('memory_budget') or {}).items() if key != 'gib'}
    try:
        plan = plan_budget(cfg, budget, size, **limits)
    except UserError as error:
        return [], [f'No row chosen for {budget:g} GiB: {error}']
    changed = copy.deepcopy(cfg)
    plan.apply(changed)
    name = f'chosen for {budget:g} GiB: K = {len(plan.ends)}, recompute {plan.recompute}'
    return [Row(name, changed, False, plan.report)], [str(plan)]


def measure_all(rows: list[Row], size: int, device: str) -> list[Row]:
    """The rows with what a real iteration of each takes."""
    found = []
    for row in rows:
        _tell(f'measuring {row.name} on {device}')
        found.append(measured_row(row, size, device))
    return found


def _tell(doing: str) -> None:
    """Show on stderr what takes its time."""
    print(f'... {doing}', file=sys.stderr, flush=True)


def main() -> None:
    """Print the tables, and write the picture and the raw bytes if places are given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        cfg = apis.load_config(args.config, args.cfg_options)
        size = args.batch or config_batch(cfg)
        register_all_modules()
        init_default_scope(cfg.get('default_scope', 'mman'))
        rows, notes = predict_all(variants(cfg), size)
        if args.budget is not None:
            chosen, more = chosen_rows(cfg, args.budget, size)
            rows, notes = rows + chosen, notes + more
        device = None
        if args.measure:
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
            rows = measure_all(rows, size, device)
        print(f'{peak_table(rows, size, args.budget, device)}\n\n{block_table(rows)}\n')
        print('\n'.join([NOTE, *notes]))
        if args.csv:
            write_csv(args.csv, rows, size, args.budget, device)
        if args.out:
            draw(args.out, rows, f'{Path(args.config).stem}, batch size {size}', args.budget)


if __name__ == '__main__':
    main()
