"""The lines of a comparison: errors of all seeds, and how they differ from other lines."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from comparison_costs import Cost
from comparison_grid import BP, BP_CHECKPOINT, Row


@dataclass(frozen=True)
class Spread:
    """A mean over seeds.

    Args:
        mean (float): The mean.
        std (float | None): Sample standard deviation; None of a single seed.
        count (int): Number of seeds.
    """

    mean: float
    std: float | None
    count: int


@dataclass(frozen=True)
class Line:
    """A row of the grid with what came out of it.

    Args:
        row (Row): The row.
        errors (dict[int, float]): Top-1 error in % by seed; runs that failed
            are missing.
        cost (Cost): Of an iteration.
        seconds (float | None): Median of an iteration; None if not measured.
        time_ratio (float | None): Median over the rounds of the time over that
            of BP in the same round; a load that comes and goes hits both.
        host (str | None): Name of the row with the head that a momentum head
            hosts; None if there is none.
    """

    row: Row
    errors: dict[int, float]
    cost: Cost
    seconds: float | None
    time_ratio: float | None
    host: str | None

    @property
    def name(self) -> str:
        """That of the row."""
        return self.row.name

    @property
    def shares_bp(self) -> bool:
        """Whether its errors are those of BP, which has the same weights."""
        return self.row.method == BP_CHECKPOINT


def make_lines(
    rows: Sequence[Row],
    errors: Mapping[str, dict[int, float]],
    costs: Mapping[str, Cost],
    seconds: Mapping[str, Sequence[float]],
) -> list[Line]:
    """Put together what belongs to each row.

    Args:
        rows (Sequence[Row]): The rows.
        errors (Mapping): Top-1 error in % by seed, by row.
        costs (Mapping): By row.
        seconds (Mapping): Times of an iteration by row; empty if not measured.
    """
    lines, bp_times = [], seconds.get(find(rows, BP).name)
    for row in rows:
        # Checkpointing is not trained: every bit of its weights is that of BP.
        trained = find(rows, BP).name if row.method == BP_CHECKPOINT else row.name
        times = seconds.get(row.name)
        lines.append(
            Line(
                row=row,
                errors=dict(errors.get(trained, {})),
                cost=costs[row.name],
                seconds=statistics.median(times) if times else None,
                time_ratio=_median_ratio(times, bp_times) if times else None,
                host=_host(rows, row),
            )
        )
    return lines


def find(things: Iterable[Row], method: str) -> Row:
    """The first row of a method."""
    return next(row for row in things if row.method == method)


def find_bp(lines: Iterable[Line]) -> Line:
    """The line of backpropagation."""
    return next(line for line in lines if line.row.method == BP)


def spread(errors: Mapping[int, float]) -> Spread | None:
    """Mean and deviation over seeds; None of no seed."""
    values = list(errors.values())
    if not values:
        return None
    std = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.mean(values), std, len(values))


def difference(line: Line, other: Line) -> Spread | None:
    """How much larger the error is than another's, over the seeds of both, paired."""
    common = line.errors.keys() & other.errors.keys()
    return spread({seed: line.errors[seed] - other.errors[seed] for seed in common})


def _median_ratio(times: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(time / other for time, other in zip(times, others, strict=True))


def momentum_head(row: Row) -> Mapping | None:
    """The config of a row's momentum head, if it has one."""
    head = row.cfg.model.get('aux_head') or {}
    return head if str(head.get('type')).split('.')[-1] == 'MomentumAuxHead' else None


def _host(rows: Sequence[Row], row: Row) -> str | None:
    """The row of the same K whose aux head is the very host of this one's momentum head."""
    head = momentum_head(row)
    if head is None:
        return None
    same = (other for other in rows if other.num_blocks == row.num_blocks)
    hosts = (other.name for other in same if other.cfg.model.get('aux_head') == head.host)
    return next(hosts, None)
