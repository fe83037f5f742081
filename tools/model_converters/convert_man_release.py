"""Give a checkpoint of the released MAN or MAN++ code the names of this toolbox."""

import argparse

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', type=cli.existing_file, help='file of the release')
    parser.add_argument('out', help='new .pth file')
    text = 'config of the same split, as man/resnet110_k54-release_cifar10, to convert the aux '
    text += 'heads too [the classifier alone]'
    parser.add_argument('--config', help=text)
    return parser


def main() -> None:
    """Convert and write, and say what was left out."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman.export import convert_man_release

        print(convert_man_release(args.checkpoint, args.out, args.config))


if __name__ == '__main__':
    main()
