"""Measure every early exit of a checkpoint: accuracy on the test set, parameters, arithmetic."""

import argparse
import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from exit_figure import draw
from exit_rows import Row, exit_rows
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mman import apis
from mman.apis.config import set_loader_defaults
from mman.models.classifiers import check_exits
from mman.utils.errors import UserError, one_line_errors

HEADERS = ('block', 'last unit', 'classifier', 'top-1 [%]', 'parameters', 'MFLOPs')


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = apis.config_parser(__doc__)
    parser.add_argument('checkpoint', type=apis.existing_file, help='with its aux heads')
    parser.add_argument('--device', default='cpu', help='where to run [cpu]')
    parser.add_argument('--csv', type=apis.new_file('.csv'), help='new .csv file')
    parser.add_argument('--out', type=apis.new_file('.png'), help='new .png file for a picture')
    return parser


def test_batches(cfg: Config) -> DataLoader:
    """The test set of a config.

    Raises:
        UserError: If there is none.
    """
    if cfg.get('test_dataloader') is None:
        raise UserError(f'config {cfg.filename!r} has no test_dataloader, which tells accuracies')
    set_loader_defaults(cfg)
    return Runner.build_dataloader(cfg.test_dataloader)


def table(rows: Sequence[Row]) -> str:
    """The rows as text, numbers to the right."""
    lines = [HEADERS] + [
        (
            str(row.block),
            row.units,
            row.classifier,
            f'{row.accuracy:.2f}',
            f'{row.parameters:,}',
            f'{row.flops / 1e6:,.2f}',
        )
        for row in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADERS))]
    return '\n'.join(
        '  '.join(
            cell.ljust(width) if 0 < i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def write_csv(path: str, rows: Sequence[Row]) -> None:
    """All rows with plain numbers, into a new file."""
    names = [field.name for field in dataclasses.fields(Row)]
    with open(path, 'x', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([getattr(row, name) for name in names] for row in rows)


def main() -> None:
    """Print the table, and write the picture and the numbers if places are given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        cfg = apis.load_config(apis.config_path(args.config), args.cfg_options)
        model = apis.get_model(cfg, args.checkpoint, args.device, aux_heads=True)
        check_exits(model, [])
        rows = exit_rows(model, test_batches(cfg))
        print(table(rows))
        if args.csv:
            write_csv(args.csv, rows)
        if args.out:
            with open(args.out, 'xb') as file:
                file.write(draw(rows, f'{Path(args.config).stem}: early exits'))


if __name__ == '__main__':
    main()
