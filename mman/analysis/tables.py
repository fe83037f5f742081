"""Tables as Markdown and as CSV."""

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def markdown_table(
    rows: Sequence[Mapping[str, str]], left: Collection[int] = (0,), padded: bool = True
) -> str:
    """A Markdown table.

    Args:
        rows (Sequence[Mapping]): One or more, each the cells by their headings.
        left (Collection[int]): Columns that are flush left; the others are
            flush right. Defaults to the first.
        padded (bool): Whether columns have even widths in plain text too. Defaults to True.
    """
    columns = []
    for k, column in enumerate(zip(rows[0], *(row.values() for row in rows), strict=True)):
        # A rule of less than three characters is no table to some readers.
        width = max(3, *map(len, column)) if padded else 0
        dashes = '-' * (max(3, width) - 1)
        flush = str.ljust if k in left else str.rjust
        name, *cells = (flush(cell, width) for cell in column)
        columns.append([name, f':{dashes}' if k in left else f'{dashes}:', *cells])
    return '\n'.join(f'| {" | ".join(line)} |' for line in zip(*columns, strict=True))


def write_csv(path: str | Path, rows: Iterable[Mapping[str, Any]], overwrite: bool = False) -> None:
    """Write a CSV file of values by their headings; one that a row lacks is left empty.

    Raises:
        FileExistsError: If it exists, without ``overwrite``.
    """
    rows = list(rows)
    with open(path, 'w' if overwrite else 'x', newline='') as file:
        writer = csv.DictWriter(file, dict.fromkeys(name for row in rows for name in row))
        writer.writeheader()
        writer.writerows(rows)


def mebibytes(count: int) -> str:
    """A cell with a number of bytes."""
    return f'{count / 2**20:,.1f}'
