"""Peak bytes and arithmetic of an iteration: local learning beside all that BP can do cheaply.

BP is taken as it is, with its batch in parts, with saved tensors on the CPU and
with steps in the backward pass, each alone and with checkpointing; local methods
as their configs are and with all recomputed.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass

from common import CONFIGS, environment, prepare
from mmengine.config import Config

from mman.analysis.baselines import BASELINES, PARTS_NOTE
from mman.analysis.tables import markdown_table, mebibytes
from mman.apis.memory_prediction import measure_memory, predict_memory
from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors

_CIFAR = ('greedy', 'dgl', 'infopro', 'man', 'manpp')
_IMAGENET = ('dgl', 'infopro', 'man')
_LAYER_NORM = dict(type='LinearAuxHead', norm=dict(type='LN'))
# case -> config of BP, and configs with local blocks
CASES = {
    'resnet32': ('bp/resnet32_cifar10', [f'{m}/resnet32_k16_cifar10' for m in _CIFAR]),
    'resnet110': ('bp/resnet110_cifar10', [f'{m}/resnet110_k55_cifar10' for m in _CIFAR]),
    **{
        net: (
            f'bp/{net}_imagenet',
            [f'{m}/{net}_k{k}_imagenet' for k in (2, 4) for m in _IMAGENET],
        )
        for net in ('resnet50', 'resnet101')
    },
    'vit-base': ('bp/vit-base_imagenet', ['manpp/vit-base_k4_imagenet']),
}


@dataclass(frozen=True)
class Row:
    """One way to train.

    Args:
        name (str): As in the table.
        cfg (Config): The config of it.
        parts (int): Into how many parts a batch is cut.
    """

    name: str
    cfg: Config
    parts: int = 1


def rows(case: str) -> Iterator[Row]:
    """All ways to train a network, backpropagation first."""
    bp, local = CASES[case]
    plain = _read(bp)
    for one in BASELINES:
        yield Row(one.words, one.config(plain), one.parts)
    for name in local:
        for recompute in ('none', 'all'):
            cfg = _read(name)
            cfg.model.recompute = recompute
            method, arch = name.split('/')[0], name.split('_')[-2]
            yield Row(f'{method} {arch}' + ', recompute all' * (recompute == 'all'), cfg)
    if case == 'vit-base':
        for recompute in ('none', 'all'):
            cfg = _read(local[0])
            cfg.model.aux_head, cfg.model.recompute = _LAYER_NORM, recompute
            yield Row('greedy k4' + ', recompute all' * (recompute == 'all'), cfg)


def _read(name: str) -> Config:
    return Config.fromfile(CONFIGS / f'{name}.py')


def record(row: Row, batch: int, measure: bool) -> dict:
    """The bytes and the arithmetic of a row; of a batch in parts, those of all parts."""
    report = predict_memory(row.cfg, batch // row.parts)
    found = dict(
        name=row.name,
        blocks=len(report.blocks),
        device=report.peak,
        host=report.host,
        multiply_adds=report.flops * row.parts // 2,
    )
    if measure:
        found['measured'] = measure_memory(row.cfg, batch // row.parts, 'cpu')
    return found


def table(records: list[dict]) -> str:
    """The records, over the first of them, which is BP."""
    bp = records[0]
    lines = []
    for one in records:
        total = (one['device'] + one['host']) / bp['device']
        work = one['multiply_adds'] / bp['multiply_adds']
        cells = {
            'training': one['name'],
            'device, MiB': mebibytes(one['device']),
            'host, MiB': mebibytes(one['host']),
            'both / BP': f'{total:.3f}',
            'multiply-adds / BP': f'{work:.2f}',
        }
        if 'measured' in one:
            cells['device, measured'] = mebibytes(one['measured'])
        lines.append(cells)
    return markdown_table(lines)


def build_parser(about: str = __doc__, measured: str = 'every row') -> argparse.ArgumentParser:
    """The arguments of a benchmark of all rows, and what of them can be measured."""
    parser = argparse.ArgumentParser(description=about.split('\n\n')[0])
    parser.add_argument('case', choices=CASES, metavar='CASE', help=', '.join(CASES))
    parser.add_argument('--batch', type=cli.at_least(16), default=128, help='images [128]')
    parser.add_argument('--only', nargs='+', metavar='NAME', help='rows beside the first [all]')
    parser.add_argument('--measure', action='store_true', help=f'run {measured} on the CPU too')
    parser.add_argument('--out', type=cli.new_file('.json'), help='file for the raw output')
    return parser


def main() -> None:
    """Predict every row, print the table and write the file."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        prepare('fair_baselines')
        records = []
        first, *others = rows(args.case)
        for row in [first, *(o for o in others if args.only is None or o.name in args.only)]:
            cli.tell(f'predicting {row.name}')
            records.append(record(row, args.batch, args.measure))
    print(f'{args.case}, batch {args.batch}:\n\n{table(records)}\n\n{PARTS_NOTE}')
    write_records(args, records)


def write_records(args: argparse.Namespace, records: list[dict]) -> None:
    """Write the raw output, if ``--out`` names a file."""
    if args.out:
        content = dict(settings=vars(args), **environment(), records=records)
        with open(args.out, 'w') as file:
            file.write(json.dumps(content) + '\n')


if __name__ == '__main__':
    main()
