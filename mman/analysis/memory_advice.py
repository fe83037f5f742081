"""What a memory plan says to do: whether blocks pay, beside BP with checkpointing."""

from .memory_plan import MemoryOverview, Variant
from .tables import mebibytes

GIB = 2**30
#: What a split must save of the memory or arithmetic of BP with checkpointing to be advised.
WORTH = 0.1


def memory_advice(overview: MemoryOverview) -> str:
    """One or two sentences; backpropagation first wherever it does as well.

    Within a budget the fitting row of the least arithmetic is advised, without one the
    row of the lowest peak; a split only if it saves :data:`WORTH` of BP with checkpointing.
    """
    bp, checkpointing = overview.bp, _checkpointing(overview)
    splits = [row for row in overview.rows if len(row.report.blocks) > 1]
    if bp is None or checkpointing is None:
        return 'Advice: none, for want of rows of BP to compare with.'
    parts = _in_parts(overview, bp)
    if overview.budget is None:
        return f'Advice: {_for_the_lowest_peak(bp, checkpointing, splits)}{parts}'
    limit = overview.budget * GIB
    within = [row for row in splits if row.report.peak <= limit]
    advice = _within(limit, bp, checkpointing, within)
    return f'Advice for {overview.budget:g} GiB: {advice}{parts}'


def _checkpointing(overview: MemoryOverview) -> Variant | None:
    """The row of backpropagation that recomputes every unit."""
    rows = (r for r in overview.rows if len(r.report.blocks) == 1 and r.recompute == 'block')
    return next(rows, None)


def _in_parts(overview: MemoryOverview, bp: Variant) -> str:
    """What BP takes at least if the batch may be cut, which it may not be everywhere."""
    rows = [row for row in overview.rows if len(row.report.blocks) == 1 and row.parts > 1]
    best = min(rows, key=lambda row: row.total, default=None)
    if best is None:
        return ''
    cost = f'{mebibytes(best.total)} MiB and {best.flops / bp.flops:.2f} x'
    return f' Where BatchNorm may see parts of a batch, {best.name} takes {cost} its arithmetic.'


def _for_the_lowest_peak(bp: Variant, checkpointing: Variant, splits: list[Variant]) -> str:
    baseline = f'BP with checkpointing, {_costs(checkpointing, bp)}'
    best = min(splits, key=lambda row: row.report.peak, default=None)
    if best is None:
        return f'for less memory take {baseline}.'
    saved = _saved(best, checkpointing)
    if saved < WORTH:
        return f'for less memory take {baseline}. {_does_not_pay(best, saved)}'
    return (
        f'the least memory takes {best.name}, {_costs(best, bp)}: {saved:.0%} less than {baseline}.'
    )


def _within(limit: float, bp: Variant, checkpointing: Variant, splits: list[Variant]) -> str:
    """The advice for a budget in bytes, given the splits that fit in it."""
    if bp.report.peak <= limit:
        return f'take BP, which fits ({_size(bp)}): nothing needs to be saved.'
    best = min(splits, key=lambda row: (row.report.flops, row.report.peak), default=None)
    baseline = f'BP with checkpointing, {_costs(checkpointing, bp)}'
    if checkpointing.report.peak > limit:
        if best is None:
            return f'no split fits, nor does {baseline}. Take a smaller batch.'
        saved = _saved(best, checkpointing)
        if saved < WORTH:
            return f'take a smaller batch with {baseline}. {_does_not_pay(best, saved)}'
        return f'take {best.name}, {_costs(best, bp)}. It fits, and {baseline}, does not.'
    advice = f'take {baseline}. It fits, with the weights of BP'
    if best is None:
        return f'{advice}; no split fits.'
    less = round(1 - best.report.flops / checkpointing.report.flops, 3)
    if less <= 0:
        return f'{advice}, at less arithmetic than any split that fits.'
    if less < WORTH:
        return f'{advice}. {best.name} fits with {less:.0%} less arithmetic: it does not pay.'
    return (
        f'take {best.name}, {_costs(best, bp)}: {less:.0%} less arithmetic than {baseline}, '
        'which fits too and has the weights of BP.'
    )


def _saved(row: Variant, checkpointing: Variant) -> float:
    """The share of the peak of BP with checkpointing that a row does without."""
    return round(1 - row.report.peak / checkpointing.report.peak, 3)


def _does_not_pay(best: Variant, saved: float) -> str:
    amount = f'{saved:.0%} less' if saved > 0 else 'no less'
    return f'Local learning does not pay for memory here: {best.name} takes {amount}.'


def _costs(row: Variant, bp: Variant) -> str:
    return f'{_size(row)} and {row.report.flops / bp.report.flops:.2f} x the arithmetic of BP'


def _size(row: Variant) -> str:
    return f'{mebibytes(row.report.peak)} MiB'
