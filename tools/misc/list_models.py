"""Print the names of the configs that come with mman; each can stand in place of a config file."""

import argparse


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('pattern', nargs='?', help="start of the names, as 'man/' or 'man*/*svhn'")
    parser.add_argument('--pretrained', action='store_true', help='those that come with weights')
    return parser


def main() -> None:
    """Print them, one a line."""
    args = build_parser().parse_args()
    from mman.utils.config_names import list_models

    print('\n'.join(list_models(args.pattern, args.pretrained)))


if __name__ == '__main__':
    main()
