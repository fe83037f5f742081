"""Draw feature maps of an image after blocks, with and without the momentum and bias units."""

from pathlib import Path

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    parser = cli.config_parser(__doc__)
    cli.add_model_arguments(parser)
    parser.add_argument('image', type=cli.existing_file, help='image file')
    blocks = 'numbers of blocks, from 0 [all]'
    parser.add_argument('--blocks', type=int, nargs='+', metavar='K', help=blocks)
    channels = 'draw these channels, from 0 [the mean over all]'
    parser.add_argument('--channels', type=int, nargs='+', metavar='C', help=channels)
    cli.add_result_arguments(parser, numbers=False)
    return parser


def main() -> None:
    """Write the picture."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman import apis
        from mman.analysis.feature_maps import block_maps, draw_maps, read_image
        from mman.analysis.inspection import loaded_model

        device = args.device or cli.best_device()
        cfg = apis.load_config(args.config, args.cfg_options)
        model = loaded_model(cfg, args.checkpoint, device, None, args.unsafe_load)
        image, inputs = read_image(cfg, model, args.image)
        maps = block_maps(model, inputs, args.blocks, args.channels)
        draw_maps(args.out, image, maps, args.channels, Path(args.config).stem)
        print(f'Maps of {len(maps)} blocks of {args.config}: {args.out}')


if __name__ == '__main__':
    main()
