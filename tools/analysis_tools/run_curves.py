"""What a run logged, as curves."""

from collections.abc import Sequence
from dataclasses import dataclass

from run_logs import join, read_starts

from mman.utils.errors import UserError

FILE = 'vis_data/scalars.json'


@dataclass(frozen=True)
class Curve:
    """One quantity of one run.

    Args:
        run (str): Name of the run.
        key (str): Name of the quantity in the log.
        unit (str): What steps count, 'iteration' or 'epoch'.
        steps (tuple[int, ...]): Going up.
        values (tuple[float, ...]): As many.
    """

    run: str
    key: str
    unit: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


def read_curves(run: str, name: str, keys: Sequence[str]) -> list[Curve]:
    """The curves of a run, in the order of ``keys``.

    Args:
        run (str): Its work dir, or the folder of one start.
        name (str): What to call it.
        keys (Sequence[str]): Names in vis_data/scalars.json.

    Raises:
        UserError: If the run has no log, or a key was not logged.
    """
    starts = read_starts(run, FILE)
    return [_curve(run, name, key, starts) for key in keys]


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
    epochs = any('epoch' in one for start in starts for one in start)
    return 'epoch' if epochs else 'iteration'
