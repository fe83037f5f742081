"""Measure how well a linear classifier reads the classes from the output of every block."""

from pathlib import Path

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    parser = cli.config_parser(__doc__)
    cli.add_model_arguments(parser)
    images = 'train on so many images, drawn once and for all [%(default)s, or all if fewer]'
    parser.add_argument('--images', type=cli.at_least(1), default=10_000, metavar='N', help=images)
    cli.add_result_arguments(parser, need_picture=False)
    return parser


def main() -> None:
    """Print the table, and write the picture and the numbers if places are given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman import apis
        from mman.analysis.inspection import loaded_model
        from mman.analysis.linear_probes import draw_probes, probe_blocks, probe_text, write_probes

        device = args.device or cli.best_device()
        cfg = apis.load_config(args.config, args.cfg_options)
        model = loaded_model(cfg, args.checkpoint, device, unsafe_load=args.unsafe_load)
        found = probe_blocks(cfg, model, args.images)
        print(probe_text(found))
        if args.csv:
            write_probes(args.csv, found)
        if args.out:
            draw_probes(args.out, found, Path(args.config).stem)


if __name__ == '__main__':
    main()
