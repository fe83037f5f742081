"""Which blocks each stage trains."""

from collections.abc import Sequence
from itertools import accumulate

from mman.utils import should_be


def balanced_cuts(costs: Sequence[float], stages: int) -> list[int]:
    """Cuts whose costliest stage costs as little as can be, by dynamic programming.

    Args:
        costs (Sequence[float]): Of the K blocks.
        stages (int): S, from 1 to K.

    Returns:
        list[int]: The first block of every stage but the first; the first of equally good cuts.
    """
    count, before = len(costs), list(accumulate(costs, initial=0))
    # end -> (the largest stage, cuts) of the first blocks up to that end, in so many stages
    best = {end: (before[end], []) for end in range(1, count - stages + 2)}
    for stage in range(2, stages + 1):
        best = {
            end: min(
                (max(largest, before[end] - before[cut]), [*cuts, cut])
                for cut, (largest, cuts) in best.items()
                if cut < end
            )
            for end in range(stage, count - stages + stage + 1)
        }
    return best[count][1]


def checked_cuts(cuts: Sequence[int], stages: int, num_blocks: int) -> list[int]:
    """Cuts that somebody chose, which must be S - 1 rising numbers of blocks."""
    numbers = list(cuts) if isinstance(cuts, (list, tuple)) else [None]
    known = all(type(cut) is int and 0 < cut < num_blocks for cut in numbers)
    if not known or len(numbers) != stages - 1 or numbers != sorted(set(numbers)):
        wanted = f'{stages - 1} rising numbers from 1 to {num_blocks - 1}'
        right = f'the first blocks of the stages after the first one: {wanted}'
        raise should_be('model_wrapper_cfg.cuts', cuts, right)
    return numbers


def spans(cuts: Sequence[int], num_blocks: int) -> list[range]:
    """The blocks of every stage."""
    return [range(start, end) for start, end in zip([0, *cuts], [*cuts, num_blocks], strict=True)]
