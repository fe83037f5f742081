"""Tables as Markdown and as CSV."""

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def markdown_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: Collection[int] = (0,),
    padded: bool = True,
) -> str:
    """A Markdown table.

    Args:
        headings (Sequence[str]): Of the columns.
        rows (Iterable[Sequence[str]]): Cells, as many in each row.
        left (Collection[int]): Columns that are flush left; the others are
            flush right. Defaults to the first.
        padded (bool): Whether columns have even widths in plain text too.
            Defaults to True.
    """
    lines = [list(headings), *map(list, rows)]
    widths = [0] * len(headings)
    if padded:
        # A rule of less than three characters is no table to some readers.
        widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    columns = []
    for k, (column, width) in enumerate(zip(zip(*lines, strict=True), widths, strict=True)):
        dashes = '-' * (max(width, 3) - 1)
        rule = f':{dashes}' if k in left else f'{dashes}:'
        flush = str.ljust if k in left else str.rjust
        name, *cells = (flush(cell, width) for cell in column)
        columns.append([name, rule, *cells])
    return '\n'.join(f'| {" | ".join(line)} |' for line in zip(*columns, strict=True))


def write_csv(
    path: str | Path,
    fields: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    overwrite: bool = False,
) -> None:
    """Write a CSV file with a line of headings; a value that a row lacks is left empty.

    Args:
        path (str | Path): The file.
        fields (Sequence[str]): Headings, keys of the rows.
        rows (Iterable[Mapping]): The values.
        overwrite (bool): Whether the file may exist. Defaults to False.

    Raises:
        FileExistsError: If it exists and must not.
    """
    with open(path, 'w' if overwrite else 'x', newline='') as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


def mebibytes(count: int) -> str:
    """A cell with a number of bytes."""
    return f'{count / 2**20:,.1f}'
