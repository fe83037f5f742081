"""Draw samples of the training set as the model is given them: augmented, with their classes."""

from pathlib import Path

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    parser = cli.config_parser(__doc__)
    images = 'how many to draw [%(default)s, or all if fewer]'
    parser.add_argument('--images', type=cli.at_least(1), default=36, metavar='N', help=images)
    seed = 'of their choice and augmentation [%(default)s]'
    parser.add_argument('--seed', type=cli.seed, default=0, help=seed)
    cli.add_result_arguments(parser, numbers=False)
    return parser


def main() -> None:
    """Write the picture."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman import apis
        from mman.analysis.samples import draw_samples, read_samples

        cfg = apis.load_config(args.config, args.cfg_options)
        images, names = read_samples(cfg, args.images, args.seed)
        draw_samples(args.out, images, names, f'{Path(args.config).stem}, seed {args.seed}')
        print(f'{len(names)} training images of {args.config}: {args.out}')


if __name__ == '__main__':
    main()
