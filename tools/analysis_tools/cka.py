"""Compare the blocks of one or two trained models by linear CKA."""

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    parser = cli.config_parser(__doc__)
    cli.add_model_arguments(parser)
    other = 'compare with this model, given the same images [with itself]'
    parser.add_argument('--other', nargs=2, metavar=('CONFIG', 'CHECKPOINT'), help=other)
    images = 'validation images, drawn once and for all [%(default)s, or all if fewer]'
    parser.add_argument('--images', type=cli.at_least(1), default=500, metavar='N', help=images)
    unbiased = 'estimate HSIC without bias; the default is the biased CKA of Kornblith et al.'
    parser.add_argument('--unbiased', action='store_true', help=unbiased)
    cli.add_result_arguments(parser)
    return parser


def main() -> None:
    """Write the picture, and the numbers if a place is given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman import apis
        from mman.analysis.cka import compare_blocks, draw_cka, model_name, write_cka
        from mman.analysis.inspection import loaded_model

        device = args.device or cli.best_device()
        cfg = apis.load_config(args.config, args.cfg_options)
        pairs = [(cfg, args.checkpoint)]
        if args.other:
            pairs.append((apis.load_config(args.other[0]), args.other[1]))
        models = [
            (model_name(c, path), loaded_model(c, path, device, unsafe_load=args.unsafe_load))
            for c, path in pairs
        ]
        found = compare_blocks(cfg, models, args.images, args.unbiased)
        if args.csv:
            write_cka(args.csv, found)
        draw_cka(args.out, found)
        size = f'{len(found.matrix)} x {len(found.matrix[0])} blocks'
        print(f'Linear CKA ({found.kind}) of {found.num_images} images, {size}')


if __name__ == '__main__':
    main()
