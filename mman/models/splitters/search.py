"""Choosing where blocks end by what they cost."""

from collections.abc import Callable
from functools import cache
from typing import Protocol


class Costs(Protocol):
    """What a block from unit ``start`` to unit ``end`` costs in training."""

    units: list

    def peak(self, start: int, end: int) -> int:
        """Peak bytes."""

    def flops(self, start: int, end: int) -> int:
        """Floating-point operations of an iteration."""


def smallest_peak(costs: Costs, num_blocks: int, stem: str) -> list[int]:
    """Ends of ``num_blocks`` blocks whose largest peak is as small as can be.

    Of the splits that reach it, the one with the least arithmetic. ``stem`` is as in
    :class:`.LocalBlockSplitter`.
    """
    best, _ = _search(costs, num_blocks, stem, costs.peak, max)
    return cheapest(costs, num_blocks, stem, best, costs.flops)


def cheapest(
    costs: Costs,
    num_blocks: int,
    stem: str,
    limit: float,
    price: Callable[[int, int], float],
) -> list[int] | None:
    """Ends of blocks of the smallest sum of prices within a limit.

    Args:
        costs (Costs): Of the network to cut.
        num_blocks (int): K.
        stem (str): 'own' or 'fused'.
        limit (float): The most bytes a block may peak at.
        price (Callable): Of a block, from its first and last unit.

    Returns:
        list[int] | None: Numbers of the last units, or None if no split is
        within the limit.
    """

    def priced(start: int, end: int) -> float:
        within = costs.peak(start, end) <= limit
        return price(start, end) if within else float('inf')

    total, ends = _search(costs, num_blocks, stem, priced, lambda a, b: a + b)
    return ends if total < float('inf') else None


def _search(
    costs: Costs,
    num_blocks: int,
    stem: str,
    price: Callable[[int, int], float],
    join: Callable[[float, float], float],
) -> tuple[float, list[int]]:
    """The split of the smallest joined price, by dynamic programming."""
    price, count = cache(price), len(costs.units)
    if num_blocks == 1:
        return price(0, count - 1), [count - 1]
    firsts = [0] if stem == 'own' else range(1, count - 1)
    # end -> (price of the best split of units 0 to end, its ends)
    best = {end: (price(0, end), [end]) for end in firsts}
    for k in range(2, num_blocks + 1):
        ends = [count - 1] if k == num_blocks else range(1, count - 1)
        best = {
            end: min(
                (join(so_far, price(before + 1, end)), [*path, end])
                for before, (so_far, path) in best.items()
                if before < end
            )
            for end in ends
            if min(best) < end
        }
    return best[count - 1]
