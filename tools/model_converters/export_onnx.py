"""Export a classifier as ONNX, with any size of batch, and compare it with torch."""

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    return cli.export_parser(__doc__, 'new .onnx file')


def main() -> None:
    """Export, compare, and write."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman import apis
        from mman.export import export_onnx

        cfg = apis.load_config(args.config, args.cfg_options)
        pixels = args.input == 'pixels'
        print(export_onnx(cfg, args.checkpoint, args.out, pixels, args.images))


if __name__ == '__main__':
    main()
