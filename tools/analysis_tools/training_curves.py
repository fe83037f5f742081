"""Draw loss and accuracy of one or more trainings, the starts of resumed ones joined."""

import argparse

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('runs', nargs='+', metavar='RUN_DIR', help='work dir of a training')
    keys = 'names of what to draw, as in vis_data/scalars.json [%(default)s]'
    default = ['loss', 'accuracy/top1']
    parser.add_argument('--keys', nargs='+', default=default, metavar='KEY', help=keys)
    cli.add_result_arguments(parser)
    return parser


def main() -> None:
    """Write the picture, and the numbers if a place is given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman.analysis import training_curves

        curves = training_curves.read_curves(args.runs, args.keys)
        if args.csv:
            training_curves.write_curves(args.csv, curves)
        training_curves.draw_curves(args.out, curves)
        print(training_curves.curve_text(curves))


if __name__ == '__main__':
    main()
