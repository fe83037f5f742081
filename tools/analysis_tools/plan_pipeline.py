"""Plan a pipeline of local blocks: stages, bytes, times, and whether it would pay."""

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    parser = cli.config_parser(__doc__)
    parser.add_argument('--stages', type=cli.at_least(1), required=True, metavar='S', help='stages')
    replicas = 'replicas of every stage [1]'
    parser.add_argument('--replicas', type=cli.at_least(1), default=1, metavar='D', help=replicas)
    size = 'images of one replica, 2 or more for BatchNorm [train_dataloader.batch_size]'
    parser.add_argument('--batch', type=cli.at_least(2), metavar='N', help=size)
    for flag, value, what in (
        ('--tflops', 15, '10^12 operations of a device in a second'),
        ('--launch-us', 10, 'microseconds of the host for an operation'),
        ('--gbits', 100, '10^9 bits a second between processes'),
    ):
        parser.add_argument(flag, type=cli.above_zero, default=value, help=f'{what} [{value}]')
    parser.add_argument('--csv', type=cli.new_file('.csv'), metavar='FILE', help='of the stages')
    return parser


def main() -> None:
    """Print the plan, and write its stages if a place is given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman import apis
        from mman.analysis import pipeline_plan

        cfg = apis.load_config(args.config, args.cfg_options)
        assumptions = pipeline_plan.Assumptions(args.tflops, args.launch_us, args.gbits)
        plan = pipeline_plan.plan_pipeline(cfg, args.stages, args.replicas, args.batch, assumptions)
        print(pipeline_plan.pipeline_text(plan))
        if args.csv:
            pipeline_plan.write_pipeline(args.csv, plan)


if __name__ == '__main__':
    main()
