"""Write the weights of a classifier for mmpretrain, torchvision, timm or as safetensors."""

import argparse

from mman import apis
from mman.export import FORMATS, export_weights
from mman.utils.errors import one_line_errors


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    out = 'new file, .safetensors for that format and .pth for others'
    parser = apis.export_parser(__doc__, out, program=False)
    parser.add_argument(
        '--format',
        choices=FORMATS,
        required=True,
        help="whose names the weights get; safetensors has mmpretrain's",
    )
    return parser


def main() -> None:
    """Convert, compare, and write."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        cfg = apis.load_config(apis.config_path(args.config), args.cfg_options)
        print(export_weights(cfg, args.checkpoint, args.out, args.format, args.images))


if __name__ == '__main__':
    main()
