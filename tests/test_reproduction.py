"""What docs/reproduction.md says is in the records."""

import csv
import re
import statistics

import pytest

from tests.helpers.pages import DOCS

ROWS = [
    [cell.strip() for cell in line.strip('|\n').split('|')]
    for line in (DOCS / 'reproduction.md').read_text().splitlines()
    if line.startswith('| ') and 'records/' in line
]


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row[0])
def test_a_row_is_what_its_record_holds(row):
    _, seeds, here, _, _, link = row
    path = DOCS / re.search(r'\((.*)\)', link)[1]
    with (path if path.suffix == '.csv' else path / 'results.csv').open() as file:
        found = [float(one['top1']) for one in csv.DictReader(file)]
    assert len(found) == int(seeds)
    assert here == f'{statistics.mean(found):.2f} ± {statistics.stdev(found):.2f}'
