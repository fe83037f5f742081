"""Is a pipeline one process, to the bit? Every method, in every number of stages.

    python -m tests.helpers.pipeline_exact --out exact.json

trains every row through the Runner in one process and in 2, 3 and K stages; two replicas of two
stages beside two processes of per-block DDP; and one block in one stage. All that their last
checkpoints hold and all block losses are compared, and a control that must differ.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mman.analysis.tables import markdown_table
from mman.cli.arguments import at_least, new_file
from tests.helpers.pipeline_cases import (
    BLOCKS,
    CASES,
    REPLICATED,
    compare,
    finish,
    outcome,
    start,
    train_all,
)

CONTROL = 'control: man in one process, man-pre-step in stages'
ONE_BLOCK = {'one block': ('man', dict(num_blocks=1))}


def train_others(folder: Path, iterations: int) -> None:
    """Two replicas of two stages, and one block in one stage, each with what it must equal."""
    finish(start(folder / 'ddp', REPLICATED, iterations, 2))
    finish(start(folder / 'mesh', REPLICATED, iterations, 4, 2))
    finish(
        start(folder / 'K1', ONE_BLOCK, iterations),
        start(folder / 'K1-stage', ONE_BLOCK, iterations, 1, 1),
    )


def records(folder: Path, plan: dict[int, list[str]]) -> Iterator[dict]:
    """A record of every comparison with one process, and of one that must differ."""
    for stages, names in plan.items():
        for name in names:
            yield record(name, f'{stages} stages', folder / '1' / name, folder / str(stages) / name)
    first, second = folder / '1' / 'man', folder / '2' / 'man-pre-step'
    yield record(CONTROL, '2 stages', first, second)


def other_records(folder: Path) -> Iterator[dict]:
    """A record of every comparison of what :func:`train_others` trained."""
    for name in REPLICATED:
        way = '2 x 2 and per-block DDP'
        yield record(name, way, folder / 'ddp' / name, folder / 'mesh' / name)
    for name in ONE_BLOCK:
        yield record(name, '1 stage', folder / 'K1' / name, folder / 'K1-stage' / name)


def record(name: str, way: str, first: Path, second: Path) -> dict:
    """Which of how many entries differ."""
    different = compare(first, second)
    return dict(row=name, way=way, entries=entries(outcome(first)), different=different)


def entries(value) -> int:
    """Tensors, numbers and words of a checkpoint."""
    if isinstance(value, dict):
        return sum(map(entries, value.values()))
    return sum(map(entries, value)) if isinstance(value, list | tuple) else 1


def table(found: list[dict]) -> str:
    """Rows against ways, as Markdown: of how many entries how many differ."""
    ways = list(dict.fromkeys(record['way'] for record in found))
    rows: dict[str, dict] = {}
    for record in found:
        row = rows.setdefault(record['row'], {'row': record['row'], **dict.fromkeys(ways, '')})
        row[record['way']] = f'{len(record["different"])} of {record["entries"]}'
    return markdown_table(list(rows.values()))


def main() -> None:
    """Train, compare, print the table, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--iterations', type=at_least(1), default=50, help='of each row [50]')
    parser.add_argument('--out', type=new_file('.json'), help='file for all comparisons')
    args = parser.parse_args()
    plan = {stages: list(CASES) for stages in (2, 3, BLOCKS)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train_all(folder, plan, args.iterations)
        train_others(folder, args.iterations)
        found = [*records(folder, plan), *other_records(folder)]
    if args.out:
        content = dict(iterations=args.iterations, records=found)
        Path(args.out).write_text(json.dumps(content, indent=1) + '\n')
    print('Entries that differ, of all:\n\n' + table(found))
    wrong = [r['row'] for r in found if bool(r['different']) != (r['row'] == CONTROL)]
    sys.exit(1 if wrong else 0)


if __name__ == '__main__':
    main()
