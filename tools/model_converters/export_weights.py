"""Write the weights of a classifier for mmpretrain, torchvision, timm or as safetensors."""

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    out = 'new file, .safetensors for that format and .pth for others'
    parser = cli.export_parser(__doc__, out, program=False)
    formats = ('mmpretrain', 'torchvision', 'timm', 'safetensors')
    text = "whose names the weights get; safetensors has mmpretrain's"
    parser.add_argument('--format', choices=formats, required=True, help=text)
    return parser


def main() -> None:
    """Convert, compare, and write."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman import apis
        from mman.export import export_weights

        cfg = apis.load_config(args.config, args.cfg_options)
        print(export_weights(cfg, args.checkpoint, args.out, args.format, args.images))


if __name__ == '__main__':
    main()
