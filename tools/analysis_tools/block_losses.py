"""Draw the loss of every block over training, from a run's block_losses.jsonl."""

import argparse
import csv
import math
from collections.abc import Sequence
from pathlib import Path

from loss_figure import draw
from run_logs import join, read_starts

from mman import apis
from mman.engine.hooks import BlockLogHook
from mman.utils.errors import UserError, one_line_errors


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('run', metavar='RUN_DIR', help='work dir of a training')
    parser.add_argument(
        '--out', type=apis.new_file('.png'), required=True, help='new .png file for the picture'
    )
    parser.add_argument('--csv', type=apis.new_file('.csv'), help='new .csv file for the numbers')
    return parser


def read_losses(run: str) -> list[dict]:
    """The records of a run, with NaN where a loss was not finite.

    Raises:
        UserError: If there is none, its starts differ in K, or no loss is
            finite.
    """
    records = join(read_starts(run, BlockLogHook.filename), 'iter')
    if not records:
        raise UserError(f'{BlockLogHook.filename} of run {run!r} is empty')
    counts = sorted({len(one['losses']) for one in records})
    if len(counts) > 1:
        numbers = ', '.join(map(str, counts))
        raise UserError(f'the starts of run {run!r} have {numbers} blocks; give one of its folders')
    for one in records:
        one['losses'] = [math.nan if loss is None else loss for loss in one['losses']]
    if not any(math.isfinite(loss) for one in records for loss in one['losses']):
        raise UserError(f'run {run!r} has no finite block loss')
    return records


def write_csv(path: str, records: Sequence[dict]) -> None:
    """Write a line for every record, with a column for every block."""
    with open(path, 'x', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(('epoch', 'iter', *(f'block{k}' for k in range(len(records[0]['losses'])))))
        for one in records:
            writer.writerow((one['epoch'], one['iter'], *one['losses']))


def main() -> None:
    """Write the picture, and the numbers if a place is given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        records = read_losses(args.run)
        if args.csv:
            write_csv(args.csv, records)
        draw(args.out, records, Path(args.run).resolve().name)
        last = records[-1]
        print(f'{len(records)} records of {len(last["losses"])} blocks up to iter {last["iter"]}')


if __name__ == '__main__':
    main()
