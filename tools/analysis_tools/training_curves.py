"""Draw loss and accuracy of one or more trainings, the starts of resumed ones joined."""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from curve_figure import draw
from run_curves import Curve, read_curves

from mman import apis
from mman.utils.errors import one_line_errors


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('runs', nargs='+', metavar='RUN_DIR', help='work dir of a training')
    parser.add_argument(
        '--keys',
        nargs='+',
        default=['loss', 'accuracy/top1'],
        metavar='KEY',
        help='names of what to draw, as in vis_data/scalars.json [%(default)s]',
    )
    parser.add_argument(
        '--out', type=apis.new_file('.png'), required=True, help='new .png file for the picture'
    )
    parser.add_argument('--csv', type=apis.new_file('.csv'), help='new .csv file for the numbers')
    return parser


def run_names(runs: Sequence[str]) -> list[str]:
    """What to call the runs: their last folder, or the whole path where that is ambiguous."""
    names = [Path(run).resolve().name for run in runs]
    return names if len(set(names)) == len(names) else list(runs)


def write_csv(path: str, curves: Sequence[Curve]) -> None:
    """Write a line for every point."""
    with open(path, 'x', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(('run', 'key', 'unit', 'step', 'value'))
        for curve in curves:
            for step, value in zip(curve.steps, curve.values, strict=True):
                writer.writerow((curve.run, curve.key, curve.unit, step, value))


def main() -> None:
    """Write the picture, and the numbers if a place is given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        curves = [
            curve
            for run, name in zip(args.runs, run_names(args.runs), strict=True)
            for curve in read_curves(run, name, args.keys)
        ]
        if args.csv:
            write_csv(args.csv, curves)
        draw(args.out, curves)
        for curve in curves:
            where = f'{curve.unit} {curve.steps[-1]}'
            print(f'{curve.run}: {curve.key} {curve.values[-1]:.4g} at {where}')


if __name__ == '__main__':
    main()
