"""Train a grid of methods under one recipe, and compare error, memory, time and arithmetic."""

import signal
import sys

from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors


def build_parser():
    """The arguments of this tool."""
    parser = cli.config_parser(__doc__)
    add = parser.add_argument
    text = 'folder of all runs and results; a second start goes on with what is unfinished'
    add('--work-dir', type=cli.folder, required=True, help=text)
    text = 'names in configs/_base_/models/ or of comparison.methods, or .py files '
    text += '[comparison.methods, else all for maps]'
    add('--methods', metavar='METHOD', nargs='+', help=text)
    text = "numbers of blocks [comparison.num_blocks, else that of the config's splitter]"
    add('--num-blocks', type=cli.at_least(2), metavar='K', nargs='+', help=text)
    add('--seeds', type=cli.seed, metavar='S', nargs='+', help='[comparison.seeds, else 0]')
    add('--jobs', type=cli.at_least(1), default=1, metavar='N', help='trainings at once [1]')
    add('--rounds', type=cli.at_least(2), default=10, metavar='N', help='timed [10 iterations]')
    add('--no-time', action='store_true', help='measure no times')
    return parser


def main() -> int:
    """Train, measure, and write everything; 1 if a run has failed."""
    parser = build_parser()
    args = parser.parse_args()
    # Ended by a signal, it takes its trainings along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with one_line_errors(parser):
        from mman import apis
        from mman.analysis.comparison.compare import compare_methods

        cfg = apis.load_config(args.config, args.cfg_options)
        rest = (args.methods, args.num_blocks, args.seeds, args.jobs)
        rounds = None if args.no_time else args.rounds
        text, failed = compare_methods(cfg, args.work_dir, *rest, rounds, cli.tell)
    print(text)
    for run in failed:
        print(f'{parser.prog}: {run.name} failed, see {run.output}', file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
