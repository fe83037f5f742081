"""A memory plan as Markdown and as CSV."""

import csv
from collections.abc import Iterable, Sequence
from itertools import groupby

from memory_rows import Row, find_bp, find_config

MIB, GIB = 2**20, 2**30
DEVICES = {'cuda': 'CUDA allocator', 'cpu': 'live bytes, CPU'}
FIELDS = (
    *('training', 'num_blocks', 'recompute', 'batch_size', 'block', 'end', 'peak'),
    *('parameters', 'gradients', 'optimizer', 'buffers', 'activations'),
    *('flops', 'budget', 'fits', 'measured', 'measured_by'),
)


def fits(row: Row, budget: float) -> str:
    """'yes' or 'no': whether the predicted peak is within ``budget`` GiB."""
    return 'yes' if row.report.peak <= budget * GIB else 'no'


def peak_table(
    rows: Sequence[Row], batch_size: int, budget: float | None, device: str | None
) -> str:
    """The rows as a Markdown table, a line on what it shows above it.

    Args:
        rows (Sequence[Row]): The rows.
        batch_size (int): Images of a batch.
        budget (float | None): GiB that should suffice; None for no such column.
        device (str | None): Where was measured, 'cuda' or 'cpu'; None for no
            such columns.
    """
    bp = find_bp(rows)
    columns = {
        'training': [row.name for row in rows],
        'peak': [_mib(row.report.peak) for row in rows],
        '/ BP': [_ratio(row.report.peak, bp and bp.report.peak) for row in rows],
    }
    for part in rows[0].parts():
        columns[part] = [_mib(row.parts()[part]) for row in rows]
    columns['FLOPs / BP'] = [_ratio(row.report.flops, bp and bp.report.flops) for row in rows]
    if budget is not None:
        columns[f'fits {budget:g} GiB'] = [fits(row, budget) for row in rows]
    if device is not None:
        columns[f'measured ({DEVICES[device]})'] = [
            'out of memory' if row.measured is None else _mib(row.measured) for row in rows
        ]
        columns['predicted - measured'] = [_difference(row) for row in rows]
    title = f'Predicted peak of a training iteration, batch size {batch_size}, in MiB:'
    return f'{title}\n\n{_markdown(columns)}'


def block_table(rows: Sequence[Row]) -> str:
    """The blocks of the user's own config as a Markdown table.

    Neighbours that look the same are one line.
    """
    row = find_config(rows)
    cells = [
        tuple(_mib(n) for n in (b.activations, b.gradients, b.peak)) for b in row.report.blocks
    ]
    lines = []
    for values, group in groupby(range(row.num_blocks), key=cells.__getitem__):
        numbers = list(group)
        ends = [row.report.ends[k] for k in (numbers[0], numbers[-1])]
        lines.append((_span(numbers[0], numbers[-1]), _span(*ends), *values))
    names = ('block', 'last unit', 'activations', 'gradients', 'peak')
    columns = dict(zip(names, map(list, zip(*lines, strict=True)), strict=True))
    title = f'Peak by block of {row.name}, in MiB:'
    return f'{title}\n\n{_markdown(columns)}'


def write_csv(
    path: str, rows: Iterable[Row], batch_size: int, budget: float | None, device: str | None
) -> None:
    """Write raw bytes: a line for every row, then one for each of its blocks.

    Args:
        path (str): A new file.
        rows (Iterable[Row]): The rows.
        batch_size (int): Images of a batch.
        budget (float | None): GiB that should suffice.
        device (str | None): Where was measured, 'cuda' or 'cpu'.
    """
    with open(path, 'x', newline='') as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for row in rows:
            same = dict(
                training=row.name,
                num_blocks=row.num_blocks,
                recompute=row.recompute,
                batch_size=batch_size,
            )
            total = dict(block='all', peak=row.report.peak, flops=row.report.flops)
            if budget is not None:
                total |= dict(budget=round(budget * GIB), fits=fits(row, budget))
            if device is not None:
                total |= dict(measured=row.measured, measured_by=DEVICES[device])
            writer.writerow(same | total | row.parts())
            for k, block in enumerate(row.report.blocks):
                one = dict(block=k, end=row.report.ends[k], peak=block.peak)
                writer.writerow(same | one | row.parts(k))


def _markdown(columns: dict[str, list[str]]) -> str:
    """Columns as a table, the first flush left, in even widths."""
    cells = [[name, *column] for name, column in columns.items()]
    widths = [max(map(len, column)) for column in cells]
    first, *others = zip(*cells, strict=True)
    rule = [f':{"-" * (widths[0] - 1)}', *(f'{"-" * (width - 1)}:' for width in widths[1:])]
    lines = [_aligned(first, widths), rule, *(_aligned(line, widths) for line in others)]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    left, *right = zip(line, widths, strict=True)
    return [left[0].ljust(left[1]), *(cell.rjust(width) for cell, width in right)]


def _mib(count: int) -> str:
    return f'{count / MIB:,.1f}'


def _ratio(value: int, of: int | None) -> str:
    return f'{value / of:.3f}' if of else '-'


def _difference(row: Row) -> str:
    """Relative to what was measured."""
    return f'{row.report.peak / row.measured - 1:+.1%}' if row.measured else '-'


def _span(first, last) -> str:
    return str(first) if first == last else f'{first} - {last}'
