"""Train a grid of methods under one recipe, and compare error, memory, time and arithmetic."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mman.apis.memory_prediction import MemoryReport
from mman.registry import register_all_modules
from mman.utils.errors import UserError

from ..memory_plan import part_of_batch, predicted
from ..tables import write_csv
from .figure import draw_comparison
from .grid import Candidate, check_comparable, make_grid
from .report import make_rows, report
from .runs import Run, check_configs, make_runs, train_all, write_configs
from .times import kept_times


def compare_methods(
    cfg: Config,
    work_dir: Path,
    methods: Sequence[str] | None = None,
    num_blocks: Sequence[int] | None = None,
    seeds: Sequence[int] | None = None,
    jobs: int = 1,
    rounds: int | None = 10,
    tell: Callable[[str], None] = lambda doing: None,
) -> tuple[str, list[Run]]:
    """Train every method with every K and seed, and write tables and a picture into a folder.

    A second call with the same folder goes on with what is unfinished. Runs
    are processes of their own, which end with this one.

    Args:
        cfg (Config): As ``methods``, ``num_blocks`` and ``seeds``, see :func:`.make_grid`.
        work_dir (Path): Folder of all runs and results.
        jobs (int): Trainings at once, on the same devices. Defaults to 1.
        rounds (int | None): Times of an iteration; None to measure no times. Defaults to 10.
        tell (Callable): Called with a line on what is being done.

    Returns:
        tuple[str, list[Run]]: The report, as in comparison.md, and runs that failed.

    Raises:
        UserError: If the config or the grid is refused, or the folder has runs of another recipe.
    """
    check_comparable(cfg)
    candidates, seeds = make_grid(cfg, methods, num_blocks, seeds)
    # How every parameter was initialised would be logged otherwise.
    MMLogger.get_instance('compare_methods', log_level='WARNING')
    register_all_modules()
    init_default_scope(cfg.get('default_scope', 'mman'))
    size, costs, ends = cfg.train_dataloader.batch_size, {}, {}
    check_configs(make_runs(candidates, seeds, work_dir))
    for one in list(candidates):
        tell(f'predicting {one.name}')
        try:
            costs[one.name] = predict_cost(one, size)
        except UserError as error:
            if one.trained_as == one.name:
                raise
            # A recipe that clips gradients, for one, cannot step in the backward pass.
            tell(f'no row for {error}')
            candidates.remove(one)
            continue
        if one.num_blocks > 1:
            ends[one.num_blocks] = costs[one.name].ends
    runs = make_runs(candidates, seeds, work_dir)
    write_configs(runs)
    failed = _train_missing(runs, jobs, tell)
    times = {}
    if rounds is not None:
        times = kept_times(work_dir / 'times.json', candidates, size, rounds, tell)
    results = [(run, run.result() or {}) for run in runs]
    errors: dict[str, dict[int, float]] = {}
    for run, result in results:
        if result:
            errors.setdefault(run.candidate.name, {})[run.seed] = 100 - result['top1']
    rows = make_rows(candidates, errors, costs, times)
    text = report(cfg, rows, seeds, ends, rounds)
    (work_dir / 'comparison.md').write_text(text)
    write_csv(work_dir / 'comparison.csv', rows, overwrite=True)
    ended = [
        dict(method=r.candidate.method, num_blocks=r.candidate.num_blocks, seed=r.seed) | result
        for r, result in results
    ]
    write_csv(work_dir / 'runs.csv', ended, overwrite=True)
    title = f'{Path(cfg.filename).stem}, seeds: {len(seeds)}'
    draw_comparison(work_dir / 'comparison.png', candidates, rows, title)
    return text, failed


def predict_cost(candidate: Candidate, batch_size: int) -> MemoryReport:
    """What an iteration takes, from one on fake tensors; of a batch in parts one part.

    Raises:
        UserError: If it cannot be built or run; names the candidate.
    """
    try:
        return predicted(candidate.cfg, part_of_batch(batch_size, candidate.parts))
    except UserError as error:
        raise UserError(f'{candidate.name} cannot be trained: {error}') from error


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
