"""What one or more trainings logged, as curves; the starts of resumed ones are joined."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mman.utils.errors import UserError

from .plots import in_style, legend_below, new_figure, save_png, whole_numbers
from .run_logs import join, read_starts
from .tables import write_csv

FILE = 'vis_data/scalars.json'
#: What is drawn unless told otherwise.
KEYS = ('loss', 'accuracy/top1')
#: What well-known keys mean, with their units; a loss has none.
MEANINGS = {
    'loss': "training loss of the network's own head",
    'local_loss_mean': 'mean of the local training losses',
    'local_loss_max': 'largest of the local training losses',
    'accuracy/top1': 'validation accuracy, top-1 [%]',
    'accuracy/top5': 'validation accuracy, top-5 [%]',
    'lr': 'learning rate',
    'time': 'time of an iteration [s]',
    'data_time': 'waiting for data in an iteration [s]',
    'memory': 'peak of the CUDA allocator [MiB]',
}
_BLOCK_LOSS = 'block_loss/'
# So many points or fewer are marked.
_FEW = 30


@dataclass(frozen=True)
class Curve:
    """One quantity of one run."""

    run: str  #: Name of the run.
    key: str  #: Name of the quantity in the log.
    unit: str  #: What steps count, 'iteration' or 'epoch'.
    steps: tuple[int, ...]  #: Going up.
    values: tuple[float, ...]


def read_curves(runs: Sequence[str], keys: Sequence[str] = KEYS) -> list[Curve]:
    """The curves of runs, work dirs or folders of one start; all keys of a run together.

    A run is called by its last folder, or by the whole path where that is ambiguous; keys are
    names in vis_data/scalars.json.

    Raises:
        UserError: If a run has no log, or a key was not logged.
    """
    names = [Path(run).resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = list(runs)
    curves = []
    for run, name in zip(runs, names, strict=True):
        starts = read_starts(run, FILE)
        curves += [_curve(run, name, key, starts) for key in keys]
    return curves


def _curve(run: str, name: str, key: str, starts: list[list[dict]]) -> Curve:
    records = join([[one for one in start if key in one] for start in starts], 'step')
    if not records:
        known = sorted({key for start in starts for one in start for key in one} - {'step'})
        raise UserError(f'run {run!r} has no {key!r} in its log, which has {", ".join(known)}')
    values = tuple(one[key] for one in records)
    if not all(isinstance(value, int | float) for value in values):
        raise UserError(f'{key!r} of run {run!r} is not a number')
    return Curve(name, key, _unit(records, starts), tuple(one['step'] for one in records), values)


def _unit(records: list[dict], starts: list[list[dict]]) -> str:
    """A validation has no iteration of its own; its step is the epoch where there are epochs."""
    if 'iter' in records[0] or any('block_loss' in key for key in records[0]):
        return 'iteration'
    return 'epoch' if any('epoch' in one for start in starts for one in start) else 'iteration'


def curve_text(curves: Sequence[Curve]) -> str:
    """The last value of every curve, a line each."""
    return '\n'.join(
        f'{one.run}: {one.key} {one.values[-1]:.4g} at {one.unit} {one.steps[-1]}' for one in curves
    )


def write_curves(path: str, curves: Sequence[Curve]) -> None:
    """Write a CSV with a line for every point, into a new file."""
    rows = (
        dict(run=one.run, key=one.key, unit=one.unit, step=step, value=value)
        for one in curves
        for step, value in zip(one.steps, one.values, strict=True)
    )
    write_csv(path, rows)


@in_style
def draw_curves(path: str, curves: Sequence[Curve]) -> None:
    """Write a panel for every key, with a line for every run; all runs have the same keys.

    The picture is a new .png file of 720 x 540 pixels a panel.
    """
    keys = list(dict.fromkeys(curve.key for curve in curves))
    figure = new_figure(6 * len(keys), 4.5)
    for axes, key in zip(figure.subplots(1, len(keys), squeeze=False).flat, keys, strict=True):
        shown = [curve for curve in curves if curve.key == key]
        for curve in shown:
            # A few points are hard to see, and one alone not at all.
            marker = 'o' if len(curve.steps) <= _FEW else None
            axes.plot(curve.steps, curve.values, label=curve.run, marker=marker)
        axes.set_xlabel(' / '.join(dict.fromkeys(curve.unit for curve in shown)))
        axes.set(title=key, ylabel=meaning(key))
        whole_numbers(axes.xaxis)
    legend_below(figure, figure.axes[0], title='run')
    save_png(figure, path)


def meaning(key: str) -> str:
    """What a key of the log is, with its unit; the key itself where that is not known."""
    if key.startswith(_BLOCK_LOSS):
        return f'training loss of block {key.removeprefix(_BLOCK_LOSS)}'
    return MEANINGS.get(key, key)
