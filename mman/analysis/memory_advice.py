"""What a memory plan says to do: whether blocks pay, beside all that BP can do to need less."""

from .memory_plan import MemoryOverview, Variant
from .tables import mebibytes

GIB = 2**30
#: What a split must save of the memory or arithmetic of BP to be advised.
WORTH = 0.1


def memory_advice(overview: MemoryOverview) -> str:
    """What to train, in one to four sentences; backpropagation first wherever it does as well.

    Within a budget the fitting row of the least arithmetic is advised, without one the
    row of the lowest peak; a split only if it saves :data:`WORTH` of what BP takes with
    the whole batch, and after BP with the batch in parts where that takes no more. Where
    tensors are kept on the host, device and host count together.
    """
    bp = overview.bp
    if bp is None:
        return 'Advice: none, for want of a row of BP to compare with.'
    if overview.budget is None:
        return f'Advice: {_for_the_lowest_peak(overview.rows, bp)}'
    advice = _for_a_budget(overview.budget * GIB, overview.rows, bp)
    return f'Advice for {overview.budget:g} GiB: {advice}'


def _for_the_lowest_peak(rows: list[Variant], bp: Variant) -> str:
    whole, parts, splits = _kinds(rows)
    baseline, split = min(whole, key=_memory), min(splits, key=_memory, default=None)
    advice = f'for less memory take {_costs(baseline, bp)}.'
    if split is not None:
        saved = _saved(split, baseline)
        if saved >= WORTH:
            as_good = [r for r in parts if r.total <= split.total and r.flops <= split.flops]
            advice = (
                f'the least memory takes {_costs(split, bp)}: {saved:.0%} less than '
                f'{_costs(baseline, bp)}.'
            )
            if as_good:
                return _parts_first(min(as_good, key=_memory), bp, advice)
        else:
            advice = f'{advice} {_does_not_pay(split, saved)}'
    return _parts_last(min(parts, key=_memory, default=None), bp, advice)


def _for_a_budget(limit: float, rows: list[Variant], bp: Variant) -> str:
    if bp.total <= limit:
        return f'take BP, which fits ({_size(bp)}): nothing needs to be saved.'
    smallest = min(_kinds(rows)[0], key=_memory)
    whole, parts, split = (
        min(kind, key=_arithmetic, default=None)
        for kind in _kinds([row for row in rows if row.total <= limit])
    )
    if whole is not None:
        advised, advice = _whole_fits(whole, split, bp)
    else:
        advised, advice = _whole_does_not_fit(smallest, split, bp)
    if parts is not None and (advised is None or advised is split and parts.flops <= split.flops):
        return _parts_first(parts, bp, advice)
    return _parts_last(parts, bp, advice)


def _whole_fits(whole: Variant, split: Variant | None, bp: Variant) -> tuple[Variant, str]:
    """What to take where BP fits with the whole batch, and the sentences on it."""
    advice = f'take {_costs(whole, bp)}. It fits, with the weights of BP'
    if split is None:
        return whole, f'{advice}; no split fits.'
    less = round(1 - split.flops / whole.flops, 3)
    if less <= 0:
        return whole, f'{advice}, at no more arithmetic than any split that fits.'
    if less < WORTH:
        less = f'{split.name} fits with {less:.0%} less arithmetic: it does not pay.'
        return whole, f'{advice}. {less}'
    return split, (
        f'take {_costs(split, bp)}: {less:.0%} less arithmetic than {_costs(whole, bp)}, which '
        'fits too and has the weights of BP.'
    )


def _whole_does_not_fit(
    smallest: Variant, split: Variant | None, bp: Variant
) -> tuple[Variant | None, str]:
    """What to take where BP needs more with the whole batch, ``smallest`` the least."""
    baseline = _costs(smallest, bp)
    if split is None:
        return None, f'no split fits, nor does {baseline}. Take a smaller batch.'
    saved = _saved(split, smallest)
    if saved < WORTH:
        return None, f'take a smaller batch with {baseline}. {_does_not_pay(split, saved)}'
    return split, f'take {_costs(split, bp)}. It fits, and {baseline}, does not.'


def _parts_first(parts: Variant, bp: Variant, advice: str) -> str:
    return (
        f'take {_costs(parts, bp)}, if BatchNorm may see smaller batches or there is none. If the '
        f'batch must stay whole: {advice}'
    )


def _parts_last(parts: Variant | None, bp: Variant, advice: str) -> str:
    if parts is None:
        return advice
    return f'{advice} Where BatchNorm may see smaller batches, there is {_costs(parts, bp)}.'


def _kinds(rows: list[Variant]) -> tuple[list[Variant], list[Variant], list[Variant]]:
    """BP with the whole batch, BP with the batch in parts, and splits."""
    plain = [row for row in rows if len(row.report.blocks) == 1]
    splits = [row for row in rows if len(row.report.blocks) > 1]
    return [r for r in plain if r.parts == 1], [r for r in plain if r.parts > 1], splits


def _memory(row: Variant) -> tuple[int, int]:
    return row.total, row.flops


def _arithmetic(row: Variant) -> tuple[int, int, int]:
    # Fewer parts are fewer operations, and closer to the whole batch.
    return row.flops, row.parts, row.total


def _saved(row: Variant, baseline: Variant) -> float:
    """The share of the memory of another row that a row does without."""
    return round(1 - row.total / baseline.total, 3)


def _does_not_pay(best: Variant, saved: float) -> str:
    amount = f'{saved:.0%} less' if saved > 0 else 'no less'
    return f'Local learning does not pay for memory here: {best.name} takes {amount}.'


def _costs(row: Variant, bp: Variant) -> str:
    copies = ' and copies' if row.report.host else ''
    arithmetic = f'{row.flops / bp.flops:.2f} x the arithmetic of BP'
    return f'{row.name}, {_size(row)} and {arithmetic}{copies}'


def _size(row: Variant) -> str:
    host = ' (device and host)' if row.report.host else ''
    return f'{mebibytes(row.total)} MiB{host}'
