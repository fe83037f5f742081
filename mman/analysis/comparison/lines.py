"""The lines of a comparison's table: errors of all seeds, and how they differ from other lines."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .costs import IterationCost
from .grid import BP, BP_CHECKPOINT, Candidate


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
    """A candidate with what came out of it; one line of the table.

    Args:
        candidate (Candidate): The candidate.
        errors (dict[int, float]): Top-1 error in % by seed; runs that failed
            are missing.
        cost (IterationCost): Of an iteration.
        seconds (float | None): Median of an iteration; None if not measured.
        time_ratio (float | None): Median over the rounds of the time over that
            of BP in the same round; a load that comes and goes hits both.
        host (str | None): Name of the candidate with the head that a momentum
            head hosts; None if there is none.
    """

    candidate: Candidate
    errors: dict[int, float]
    cost: IterationCost
    seconds: float | None
    time_ratio: float | None
    host: str | None

    @property
    def name(self) -> str:
        """That of the candidate."""
        return self.candidate.name

    @property
    def shares_bp(self) -> bool:
        """Whether its errors are those of BP, which has the same weights."""
        return self.candidate.method == BP_CHECKPOINT


def make_lines(
    candidates: Sequence[Candidate],
    errors: Mapping[str, dict[int, float]],
    costs: Mapping[str, IterationCost],
    seconds: Mapping[str, Sequence[float]],
) -> list[Line]:
    """Put together what belongs to each candidate.

    Args:
        candidates (Sequence[Candidate]): The candidates, BP among them.
        errors (Mapping): Top-1 error in % by seed, by candidate.
        costs (Mapping): By candidate.
        seconds (Mapping): Times of an iteration by candidate; empty if not measured.
    """
    bp = next(one.name for one in candidates if one.method == BP)
    lines, bp_times = [], seconds.get(bp)
    for one in candidates:
        # Checkpointing is not trained: every bit of its weights is that of BP.
        trained = bp if one.method == BP_CHECKPOINT else one.name
        times = seconds.get(one.name)
        lines.append(
            Line(
                candidate=one,
                errors=dict(errors.get(trained, {})),
                cost=costs[one.name],
                seconds=statistics.median(times) if times else None,
                time_ratio=_median_ratio(times, bp_times) if times else None,
                host=_host(candidates, one),
            )
        )
    return lines


def find_bp(lines: Iterable[Line]) -> Line:
    """The line of backpropagation."""
    return next(line for line in lines if line.candidate.method == BP)


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


def momentum_head(candidate: Candidate) -> Mapping | None:
    """The config of a candidate's momentum head, if it has one."""
    head = candidate.cfg.model.get('aux_head') or {}
    return head if str(head.get('type')).split('.')[-1] == 'MomentumAuxHead' else None


def _host(candidates: Sequence[Candidate], candidate: Candidate) -> str | None:
    """That of the same K whose aux head is the very host of this one's momentum head."""
    head = momentum_head(candidate)
    if head is None:
        return None
    same = (other for other in candidates if other.num_blocks == candidate.num_blocks)
    hosts = (other.name for other in same if other.cfg.model.get('aux_head') == head.host)
    return next(hosts, None)
