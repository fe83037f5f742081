"""Train a model from a config file.

SIGTERM and SIGUSR1 save a checkpoint and end the training with exit code 75;
--resume goes on from there.
"""

import argparse
import sys

from mmengine.config import Config
from mmengine.dist import is_main_process

from mman import apis
from mman.utils.errors import one_line_errors
from mman.utils.preempted import EXIT_CODE, Preempted


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = apis.config_parser(__doc__)
    apis.add_run_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const=True,
        type=apis.existing_file,
        metavar='CHECKPOINT',
        help='continue from a checkpoint; without one, from the latest of the work dir, if any',
    )
    parser.add_argument('--amp', action='store_true', help='train in automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale learning rates by the total batch, from auto_scale_lr.base_batch_size',
    )
    parser.add_argument('--seed', type=apis.seed, help='seed of all random numbers')
    return parser


def main() -> None:
    """Train, then say what came out and where it is."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        apis.export_local_rank(args.local_rank)
        cfg = apis.load_config(args.config, args.cfg_options)
        cfg.launcher = args.launcher
        apis.set_work_dir(cfg, args.work_dir, args.config)
        apis.set_resume(cfg, args.resume)
        apis.set_seed(cfg, args.seed)
        apis.set_amp(cfg, args.amp)
        apis.set_auto_scale_lr(cfg, args.auto_scale_lr)
        code = train(cfg, args.unsafe_load)
        apis.leave_processes()
    sys.exit(code)


def train(cfg: Config, unsafe_load: bool) -> int:
    """Train and say what came out; the exit code.

    No Runner is alive any more when it returns.
    """
    try:
        runner = apis.train_model(cfg, unsafe_load)
    except Preempted as stop:
        message, code = stop.message, EXIT_CODE
    else:
        message, code = apis.summarize(runner), 0
    if is_main_process():
        print(message, flush=True)
    return code


if __name__ == '__main__':
    main()
