"""Peak bytes and arithmetic of training one block at a time, beside all at once and BP's ways.

One at a time is the worst of K trainings of a block each: with the blocks before it
running, and on features of them that were cached.
"""

from collections.abc import Iterator, Sequence

from common import CONFIGS, prepare
from fair_baselines import Row, build_parser, rows, write_records
from mmengine.config import Config

from mman.analysis.tables import markdown_table, mebibytes
from mman.apis.memory_prediction import MemoryReport, measure_memory, predict_memory
from mman.apis.models import build_local_model
from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors

# Units of a network, the stem included.
EVERY_UNIT = dict(resnet50=17, resnet101=34)


def all_rows(case: str) -> Iterator[Row]:
    """Those of the other benchmark, and every unit a block with the smallest head."""
    yield from rows(case)
    if case in EVERY_UNIT:
        cfg = Config.fromfile(CONFIGS / f'dgl/{case}_k4_imagenet.py')
        cfg.model.aux_head = dict(type='LinearAuxHead')
        cfg.model.splitter = dict(
            type='LocalBlockSplitter', num_blocks=EVERY_UNIT[case], strategy='uniform', stem='own'
        )
        yield Row(f'greedy k{EVERY_UNIT[case]}', cfg)


def one_at_a_time(cfg: Config, batch: int, cached: bool) -> list[tuple[Config, MemoryReport]]:
    """The prediction for every block, trained alone.

    Args:
        cfg (Config): With local blocks.
        batch (int): Images of a batch.
        cached (bool): Whether the blocks before give cached features; the first
            has none.
    """
    found = []
    for k in range(build_local_model(cfg).num_blocks):
        one = Config(cfg.to_dict())
        one.model.train_blocks = [k]
        found.append((one, predict_memory(one, batch, cached and k > 0)))
    return found


def records(row: Row, batch: int, measure: bool) -> list[dict]:
    """All blocks at once, and one at a time in two ways."""
    joint = predict_memory(row.cfg, batch)
    # fair_baselines.py measures these.
    found = [_record(row.name, [joint], [row.cfg], batch, None)]
    for cached, words in ((False, 'one at a time'), (True, 'one at a time, cached')):
        trainings = one_at_a_time(row.cfg, batch, cached)
        cfgs, reports = zip(*trainings, strict=True)
        how = [cached and k > 0 for k in range(len(cfgs))] if measure else None
        found.append(_record(f'{row.name}, {words}', reports, cfgs, batch, how))
    return found


def _record(
    name: str,
    reports: Sequence[MemoryReport],
    cfgs: Sequence[Config],
    batch: int,
    cached: list[bool] | None,
) -> dict:
    worst = max(range(len(reports)), key=lambda k: reports[k].peak)
    record = dict(
        name=name,
        device=reports[worst].peak,
        host=reports[worst].host,
        multiply_adds=sum(report.flops for report in reports) // 2,
        peaks=[report.peak for report in reports],
    )
    if cached is not None:
        record['measured'] = measure_memory(cfgs[worst], batch, 'cpu', cached[worst])
    return record


def table(found: list[dict]) -> str:
    """The records, over the first of them, which is BP."""
    bp, lines = found[0], []
    for one in found:
        cells = {
            'training': one['name'],
            'peak, MiB': mebibytes(one['device'] + one['host']),
            'peak / BP': f'{(one["device"] + one["host"]) / bp["device"]:.3f}',
            'multiply-adds / BP': f'{one["multiply_adds"] / bp["multiply_adds"]:.2f}',
        }
        if any('measured' in other for other in found):
            cells['measured, MiB'] = mebibytes(one['measured']) if 'measured' in one else ''
        lines.append(cells)
    return markdown_table(lines)


def main() -> None:
    """Predict every row, print the table and write the file."""
    parser = build_parser(__doc__, 'the worst block')
    args = parser.parse_args()
    with one_line_errors(parser):
        prepare('phases')
        found = []
        for row in all_rows(args.case):
            local = not row.name.startswith('BP')
            if local and args.only is not None and row.name not in args.only:
                continue
            cli.tell(f'predicting {row.name}')
            if local:
                found += records(row, args.batch, args.measure)
                continue
            report = predict_memory(row.cfg, args.batch // row.parts)
            found.append(_record(row.name, [report], [row.cfg], args.batch, None))
            found[-1]['multiply_adds'] *= row.parts
    print(f'{args.case}, batch {args.batch}:\n\n{table(found)}')
    write_records(args, found)


if __name__ == '__main__':
    main()
