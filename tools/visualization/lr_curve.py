"""Draw learning rate and momentum over the iterations of a config, without training."""

from pathlib import Path

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    parser = cli.config_parser(__doc__)
    length = 'iterations of an epoch [counted: needs the training set]'
    parser.add_argument('--epoch-length', type=cli.at_least(1), metavar='N', help=length)
    cli.add_result_arguments(parser)
    return parser


def main() -> None:
    """Write the picture, and the numbers if a place is given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman import apis
        from mman.analysis import schedules

        cfg = apis.load_config(args.config, args.cfg_options)
        length, found = schedules.read_schedules(cfg, args.epoch_length)
        if args.csv:
            schedules.write_schedules(args.csv, found)
        schedules.draw_schedules(args.out, length, found, Path(args.config).stem)
        print(schedules.schedule_text(length, found))
        if (cfg.get('auto_scale_lr') or {}).get('enable'):
            print('auto_scale_lr.enable: the Runner will scale these by the total batch')


if __name__ == '__main__':
    main()
