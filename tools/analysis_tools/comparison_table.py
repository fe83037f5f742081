"""A comparison as Markdown and as CSV."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from comparison_rows import Line, Spread, difference, find_bp, spread
from comparison_runs import Run

MIB = 2**20
FIELDS = (
    *('method', 'num_blocks', 'seeds', 'error_mean', 'error_std', 'error_of'),
    *('minus_bp_mean', 'minus_bp_std', 'host', 'minus_host_mean', 'minus_host_std'),
    *('peak_bytes', 'peak_over_bp', 'seconds_per_iteration', 'time_over_bp'),
    *('parameters', 'flops', 'flops_over_bp'),
)
RUN_FIELDS = ('method', 'num_blocks', 'seed', 'top1', 'seconds', 'resumed')


def markdown_table(lines: Sequence[Line], num_seeds: int) -> str:
    """The lines as a Markdown table.

    Args:
        lines (Sequence[Line]): The lines, BP among them.
        num_seeds (int): How many seeds there should be; fewer are told.
    """
    bp = find_bp(lines)
    by_name = {line.name: line for line in lines}
    hosts = {line.name: by_name.get(line.host) for line in lines}
    columns = {
        'method': [line.row.method for line in lines],
        'K': [str(line.row.num_blocks) for line in lines],
        'top-1 error, %': [_error(line, num_seeds) for line in lines],
        '- BP': ['' if line.row.num_blocks == 1 else _difference(line, bp) for line in lines],
    }
    if any(hosts.values()):
        columns['- host'] = [_difference(line, hosts[line.name]) for line in lines]
    columns |= {
        'peak, MiB': [f'{line.cost.peak / MIB:,.1f}' for line in lines],
        'peak / BP': [f'{line.cost.peak / bp.cost.peak:.3f}' for line in lines],
    }
    if bp.seconds is not None:
        columns['time / BP'] = [f'{line.time_ratio:.2f}' for line in lines]
    columns |= {
        'parameters': [f'{line.cost.parameters:,}' for line in lines],
        'GFLOPs': [f'{line.cost.flops / 1e9:,.2f}' for line in lines],
        'FLOPs / BP': [f'{line.cost.flops / bp.cost.flops:.3f}' for line in lines],
    }
    return _markdown(columns)


def write_csv(path: Path, lines: Sequence[Line]) -> None:
    """Write the values of the table in full precision; cells without a value are empty."""
    bp = find_bp(lines)
    by_name = {line.name: line for line in lines}
    _write(path, FIELDS, [_values(line, bp, by_name.get(line.host)) for line in lines])


def write_runs(path: Path, runs: Iterable[Run]) -> None:
    """Write every run that has ended."""
    ended = [(run, run.result()) for run in runs if run.result() is not None]
    same = [
        dict(method=run.row.method, num_blocks=run.row.num_blocks, seed=run.seed) | result
        for run, result in ended
    ]
    _write(path, RUN_FIELDS, same)


def _values(line: Line, bp: Line, host: Line | None) -> dict:
    error = spread(line.errors)
    return dict(
        method=line.row.method,
        num_blocks=line.row.num_blocks,
        seeds=len(line.errors),
        error_mean=error and error.mean,
        error_std=error and error.std,
        error_of=bp.name if line.shares_bp else line.name,
        **_named('minus_bp', difference(line, bp)),
        host=line.host,
        **_named('minus_host', difference(line, host) if host else None),
        peak_bytes=line.cost.peak,
        peak_over_bp=line.cost.peak / bp.cost.peak,
        seconds_per_iteration=line.seconds,
        time_over_bp=line.time_ratio,
        parameters=line.cost.parameters,
        flops=line.cost.flops,
        flops_over_bp=line.cost.flops / bp.cost.flops,
    )


def _named(name: str, found: Spread | None) -> dict:
    return {f'{name}_mean': found and found.mean, f'{name}_std': found and found.std}


def _write(path: Path, fields: Sequence[str], rows: Iterable[Mapping]) -> None:
    with path.open('w', newline='') as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


def _error(line: Line, num_seeds: int) -> str:
    found = spread(line.errors)
    if found is None:
        return 'failed'
    text = _spread_text(found, '.2f') + (' (of BP)' if line.shares_bp else '')
    return text if found.count == num_seeds else f'{text} ({found.count} of {num_seeds} seeds)'


def _difference(line: Line, other: Line | None) -> str:
    found = difference(line, other) if other else None
    return _spread_text(found, '+.2f') if found else ''


def _spread_text(found: Spread, digits: str) -> str:
    mean = format(found.mean, digits)
    return mean if found.std is None else f'{mean} ± {found.std:.2f}'


def _markdown(columns: dict[str, list[str]]) -> str:
    """Columns as a table, the first flush left, in even widths."""
    # A rule of less than three characters is no table to some readers.
    widths = [max(3, *map(len, [name, *column])) for name, column in columns.items()]
    rule = [f':{"-" * (widths[0] - 1)}', *(f'{"-" * (width - 1)}:' for width in widths[1:])]
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    first, *others = [_aligned(row, widths) for row in rows]
    return '\n'.join(f'| {" | ".join(row)} |' for row in [first, rule, *others])


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    left, *right = zip(row, widths, strict=True)
    return [left[0].ljust(left[1]), *(cell.rjust(width) for cell, width in right)]
