"""Train a grid of methods under one recipe, and compare error, memory, time and arithmetic."""

import argparse
import signal
import sys
from pathlib import Path

from comparison_checks import check_config
from comparison_costs import Cost, predict
from comparison_figure import draw
from comparison_grid import Grid, make_grid
from comparison_report import report
from comparison_rows import make_lines
from comparison_runs import Run, check_configs, make_runs, train_all, write_configs
from comparison_table import write_csv, write_runs
from comparison_time import Times, kept_times
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mman import apis
from mman.registry import register_all_modules
from mman.utils.errors import one_line_errors


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = apis.config_parser(__doc__)
    parser.add_argument(
        '--work-dir',
        type=folder,
        required=True,
        help='folder of all runs and results; a second start goes on with what is unfinished',
    )
    parser.add_argument(
        '--methods',
        nargs='+',
        metavar='METHOD',
        help='names in configs/_base_/models or of comparison.methods, or .py files '
        '[comparison.methods, else all for maps]',
    )
    parser.add_argument(
        '--num-blocks',
        nargs='+',
        type=at_least(2),
        metavar='K',
        help="numbers of blocks [comparison.num_blocks, else that of the config's splitter]",
    )
    parser.add_argument(
        '--seeds', nargs='+', type=apis.seed, metavar='S', help='[comparison.seeds, else 0]'
    )
    parser.add_argument(
        '--jobs',
        type=at_least(1),
        default=1,
        metavar='N',
        help='trainings at once, on the same devices [1]',
    )
    parser.add_argument(
        '--rounds', type=at_least(2), default=10, metavar='N', help='times of an iteration [10]'
    )
    parser.add_argument('--no-time', action='store_true', help='measure no times')
    return parser


def folder(text: str) -> Path:
    """Type of ``--work-dir``."""
    if Path(text).exists() and not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f'{text!r} is a file; it should be a folder')
    return Path(text)


def at_least(minimum: int):
    """Type of an argument that is an integer from ``minimum`` on."""

    def check(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f'{text!r} should be an integer from {minimum} on')
        return int(text)

    return check


def tell(doing: str) -> None:
    """Show on stderr what takes its time."""
    print(f'... {doing}', file=sys.stderr, flush=True)


def predict_all(grid: Grid, batch_size: int) -> dict[str, Cost]:
    """Costs of all rows, which also shows that each can be trained."""
    costs = {}
    for row in grid.rows:
        tell(f'predicting {row.name}')
        costs[row.name] = predict(row, batch_size)
    return costs


def train_missing(runs: list[Run], jobs: int) -> list[Run]:
    """Train every run that has not ended, and return those that failed."""
    missing = sum(run.result() is None for run in runs)
    tell(f'{len(runs)} runs, {len(runs) - missing} of them done')
    failed = []
    for count, (run, code) in enumerate(train_all(runs, jobs), 1):
        result = run.result()
        if code or result is None:
            failed.append(run)
            tell(f'[{count}/{missing}] {run.name} FAILED with exit code {code}')
        else:
            tell(f'[{count}/{missing}] {run.name}: top-1 {result["top1"]:.2f} %')
    return failed


def write_results(
    folder: Path, cfg: Config, grid: Grid, runs: list[Run], costs: dict[str, Cost], times: Times
) -> str:
    """Write table, values, runs and picture, and return the table."""
    errors: dict[str, dict[int, float]] = {}
    for run in runs:
        if (result := run.result()) is not None:
            errors.setdefault(run.row.name, {})[run.seed] = 100 - result['top1']
    lines = make_lines(grid.rows, errors, costs, times.seconds)
    text = report(cfg, lines, grid.seeds, times)
    (folder / 'comparison.md').write_text(text)
    write_csv(folder / 'comparison.csv', lines)
    write_runs(folder / 'runs.csv', runs)
    draw(folder / 'comparison.png', lines, f'{Path(cfg.filename).stem}, seeds: {len(grid.seeds)}')
    return text


def main() -> int:
    """Train, measure, and write everything; 1 if a run has failed."""
    parser = build_parser()
    args = parser.parse_args()
    # Ended by a signal, it takes its trainings along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with one_line_errors(parser):
        cfg = apis.load_config(args.config, args.cfg_options)
        check_config(cfg)
        grid = make_grid(cfg, args.methods, args.num_blocks, args.seeds)
        # How every parameter was initialised would be logged otherwise.
        MMLogger.get_instance('compare_methods', log_level='WARNING')
        register_all_modules()
        init_default_scope(cfg.get('default_scope', 'mman'))
        runs = make_runs(grid, args.work_dir)
        check_configs(runs)
        size = cfg.train_dataloader.batch_size
        costs = predict_all(grid, size)
        write_configs(runs)
        failed = train_missing(runs, args.jobs)
        times = Times('', {})
        if not args.no_time:
            path = args.work_dir / 'times.json'
            times = kept_times(path, grid.rows, size, args.rounds, tell)
        print(write_results(args.work_dir, cfg, grid, runs, costs, times))
    for run in failed:
        print(f'{parser.prog}: {run.name} failed, see {run.output}', file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
