"""Train a grid of methods under one recipe, and compare error, memory, time and arithmetic."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mman.registry import register_all_modules

from .costs import IterationCost, Times, kept_times, predict_cost
from .figure import draw_comparison
from .grid import Grid, check_config, make_grid
from .lines import make_lines
from .report import report, write_lines, write_runs
from .runs import Run, check_configs, make_runs, train_all, write_configs


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare_methods` has done.

    Args:
        text (str): The report, as in comparison.md.
        failed (list[Run]): Runs that failed.
    """

    text: str
    failed: list[Run]


def compare_methods(
    cfg: Config,
    work_dir: Path,
    methods: Sequence[str] | None = None,
    num_blocks: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    jobs: int = 1,
    rounds: int | None = 10,
    tell: Callable[[str], None] = lambda doing: None,
) -> Comparison:
    """Train every method with every K and seed, and write tables and a picture into a folder.

    A second call with the same folder goes on with what is unfinished. Runs
    are processes of their own, which end with this one.

    Args:
        cfg (Config): Network, data and recipe; see :func:`.make_grid`.
        work_dir (Path): Folder of all runs and results.
        methods (Sequence[str] | None): As for :func:`.make_grid`.
        num_blocks (Sequence[int] | None): Likewise.
        seeds (Sequence[int] | None): Likewise.
        jobs (int): Trainings at once, on the same devices. Defaults to 1.
        rounds (int | None): Times of an iteration; None to measure no times.
            Defaults to 10.
        tell (Callable): Called with a line on what is being done.

    Raises:
        UserError: If the config or the grid is refused, or the folder has runs
            of another recipe.
    """
    check_config(cfg)
    grid = make_grid(cfg, methods, num_blocks, seeds)
    # How every parameter was initialised would be logged otherwise.
    MMLogger.get_instance('compare_methods', log_level='WARNING')
    register_all_modules()
    init_default_scope(cfg.get('default_scope', 'mman'))
    runs = make_runs(grid, work_dir)
    check_configs(runs)
    size, costs = cfg.train_dataloader.batch_size, {}
    for one in grid.candidates:
        tell(f'predicting {one.name}')
        costs[one.name] = predict_cost(one, size)
    write_configs(runs)
    failed = _train_missing(runs, jobs, tell)
    times = Times('', {})
    if rounds is not None:
        times = kept_times(work_dir / 'times.json', grid.candidates, size, rounds, tell)
    return Comparison(_write_results(work_dir, cfg, grid, runs, costs, times), failed)


def _train_missing(runs: list[Run], jobs: int, tell: Callable[[str], None]) -> list[Run]:
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


def _write_results(
    folder: Path,
    cfg: Config,
    grid: Grid,
    runs: list[Run],
    costs: dict[str, IterationCost],
    times: Times,
) -> str:
    """Write table, values, runs and picture, and return the table."""
    errors: dict[str, dict[int, float]] = {}
    for run in runs:
        if (result := run.result()) is not None:
            errors.setdefault(run.candidate.name, {})[run.seed] = 100 - result['top1']
    lines = make_lines(grid.candidates, errors, costs, times.seconds)
    text = report(cfg, lines, grid.seeds, times)
    (folder / 'comparison.md').write_text(text)
    write_lines(folder / 'comparison.csv', lines)
    write_runs(folder / 'runs.csv', runs)
    draw_comparison(
        folder / 'comparison.png', lines, f'{Path(cfg.filename).stem}, seeds: {len(grid.seeds)}'
    )
    return text
