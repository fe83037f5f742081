"""Reduce a checkpoint of training to what inference needs, named by its checksum."""

import argparse

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', type=cli.existing_file, help='checkpoint of training')
    parser.add_argument('out', help='start of the new name: OUT-<8 digits of its sha256>.pth')
    which = 'which weights, where EMAHook saved both [the only ones]'
    parser.add_argument('--weights', choices=('averaged', 'current'), help=which)
    keep = 'keep the aux heads, for early exits'
    parser.add_argument('--keep-aux-heads', action='store_true', help=keep)
    return parser


def main() -> None:
    """Publish, then print where."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman.export import publish_model

        print(publish_model(args.checkpoint, args.out, args.weights, args.keep_aux_heads))


if __name__ == '__main__':
    main()
