"""Predict the peak memory of a config's training iteration and of what could be trained instead."""

from pathlib import Path

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    parser = cli.config_parser(__doc__)
    size = 'images of a batch, 2 or more for BatchNorm [train_dataloader.batch_size]'
    parser.add_argument('--batch', type=cli.at_least(2), metavar='N', help=size)
    choose = 'mark what fits into so many GiB, and choose K, ends and recomputation for it [none]'
    parser.add_argument('--budget', type=cli.gib, metavar='G', help=choose)
    measure = 'run every row, on the GPU if there is one, and measure it too'
    parser.add_argument('--measure', action='store_true', help=measure)
    stages = 'plan a pipeline of so many stages instead; mman plan-pipeline has more options'
    parser.add_argument('--stages', type=cli.at_least(1), metavar='S', help=stages)
    cli.add_result_arguments(parser, need_picture=False)
    return parser


def main() -> None:
    """Print the tables, and write the picture and the raw bytes if places are given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman import apis
        from mman.analysis.memory_plan import plan_memory
        from mman.analysis.memory_report import draw_memory, memory_text, write_memory
        from mman.analysis.pipeline_plan import pipeline_text, plan_pipeline

        cfg = apis.load_config(args.config, args.cfg_options)
        if args.stages:
            print(pipeline_text(plan_pipeline(cfg, args.stages, batch_size=args.batch)))
            return
        overview = plan_memory(cfg, args.batch, args.budget, args.measure, cli.tell)
        print(memory_text(overview))
        if args.csv:
            write_memory(args.csv, overview)
        if args.out:
            title = f'{Path(args.config).stem}, batch size {overview.batch_size}'
            draw_memory(args.out, overview, title)


if __name__ == '__main__':
    main()
