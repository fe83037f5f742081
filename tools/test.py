"""Evaluate a checkpoint on the test set of a config file."""

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    parser = cli.config_parser(__doc__)
    cli.add_checkpoint(parser)
    cli.add_run_arguments(parser)
    out = 'new .pkl file for the predictions'
    parser.add_argument('--out', type=cli.new_file('.pkl', '.pickle'), help=out)
    return parser


def main() -> None:
    """Test, then print the metrics."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mmengine.dist import is_main_process

        from mman import apis

        cli.export_local_rank(args.local_rank)
        cfg = apis.load_config(args.config, args.cfg_options)
        cfg.launcher = args.launcher
        apis.set_work_dir(cfg, args.work_dir, args.config)
        metrics = apis.test_model(cfg, args.checkpoint, args.out, args.unsafe_load)
        if is_main_process():
            for name, value in metrics.items():
                print(f'{name}: {value:.4f}' if isinstance(value, float) else f'{name}: {value}')
        apis.leave_processes()


if __name__ == '__main__':
    main()
