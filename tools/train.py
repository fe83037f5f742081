"""Train a model from a config file.

SIGTERM, SIGUSR1 and Ctrl-C save a checkpoint and end the training with exit code 75;
--resume goes on from there.
"""

import sys

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    parser = cli.config_parser(__doc__)
    cli.add_run_arguments(parser)
    cli.add_train_arguments(parser)
    return parser


def main() -> None:
    """Train, then say what came out and where it is."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        from mman import apis

        cli.export_local_rank(args.local_rank)
        cfg = apis.load_config(args.config, args.cfg_options)
        cfg.launcher = args.launcher
        apis.set_work_dir(cfg, args.work_dir, args.config)
        apis.set_resume(cfg, args.resume)
        apis.set_seed(cfg, args.seed)
        apis.set_amp(cfg, args.amp)
        apis.set_auto_scale_lr(cfg, args.auto_scale_lr)
        code = apis.train_and_tell(cfg, args.unsafe_load)
        apis.leave_processes()
    sys.exit(code)


if __name__ == '__main__':
    main()
