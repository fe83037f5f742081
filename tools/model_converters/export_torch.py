"""Export a classifier as a program of torch.export or as TorchScript, with any size of batch."""

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    parser = cli.export_parser(__doc__, 'new file, .pt2 for export and .pt for script')
    how = 'for torch.export.load, or TorchScript for torch.jit.load [export]'
    parser.add_argument('--how', choices=('export', 'script'), default='export', help=how)
    return parser


def main() -> None:
    """Export, compare, and write."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman import apis
        from mman.export import export_torch

        cfg = apis.load_config(args.config, args.cfg_options)
        pixels = args.input == 'pixels'
        print(export_torch(cfg, args.checkpoint, args.out, args.how, pixels, args.images))


if __name__ == '__main__':
    main()
