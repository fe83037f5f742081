"""Measure every early exit of a checkpoint: accuracy on the test set, parameters, multiply-adds."""

from pathlib import Path

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    parser = cli.config_parser(__doc__)
    cli.add_model_arguments(parser)
    cli.add_result_arguments(parser, need_picture=False)
    return parser


def main() -> None:
    """Print the table, and write the picture and the numbers if places are given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman import apis
        from mman.analysis.early_exits import draw_exits, exit_table, measure_exits, write_exits
        from mman.analysis.inspection import loaded_model

        device = args.device or cli.best_device()
        cfg = apis.load_config(args.config, args.cfg_options)
        model = loaded_model(cfg, args.checkpoint, device, True, args.unsafe_load)
        results = measure_exits(cfg, model)
        print(exit_table(results))
        if args.csv:
            write_exits(args.csv, results)
        if args.out:
            draw_exits(args.out, results, f'{Path(args.config).stem}: early exits')


if __name__ == '__main__':
    main()
