"""Predict the classes of images by a config and a checkpoint."""

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    parser = cli.config_parser(__doc__)
    cli.add_model_arguments(parser)
    parser.add_argument('images', nargs='+', help='image files, or folders of them')
    text = 'predict by the aux head of this block, from 0 [the whole network]'
    parser.add_argument('--exit', type=cli.at_least(0), metavar='K', help=text)
    text = 'images of a batch [%(default)s; where sizes differ, 1]'
    parser.add_argument('--batch-size', type=cli.at_least(1), default=1, metavar='N', help=text)
    return parser


def main() -> None:
    """Print class, score and file of every image."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman import apis

        device = args.device or cli.best_device()
        inferencer = apis.ImageInferencer(args.config, args.checkpoint, device, exit=args.exit)
        images = [file for path in args.images for file in apis.image_files(path)]
        for path, found in zip(images, inferencer(images, batch_size=args.batch_size), strict=True):
            name = found.get('pred_class', found['pred_label'])
            print(f'{name}\t{found["pred_score"]:.4f}\t{path}')


if __name__ == '__main__':
    main()
