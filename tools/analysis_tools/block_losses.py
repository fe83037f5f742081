"""Draw the loss of every block over training, from a run's block_losses.jsonl."""

import argparse
from pathlib import Path

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('run', metavar='RUN_DIR', help='work dir of a training')
    cli.add_result_arguments(parser)
    return parser


def main() -> None:
    """Write the picture, and the numbers if a place is given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman.analysis.block_losses import draw_losses, read_losses, write_losses

        records = read_losses(args.run)
        if args.csv:
            write_losses(args.csv, records)
        draw_losses(args.out, records, Path(args.run).resolve().name)
        last = records[-1]
        print(f'{len(records)} records of {len(last["losses"])} blocks up to iter {last["iter"]}')


if __name__ == '__main__':
    main()
