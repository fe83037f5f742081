"""Peak bytes and arithmetic of one training iteration, predicted or measured, over those of BP.

BP is backpropagation (one local block), taken as it is and in all ways that it has to need less.
Every method is taken as its config has it and with the block, or all of it, recomputed in the
backward pass; on ImageNet also with the split that takes the fewest bytes.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict

import torch
from common import (
    BASELINE,
    CONFIGS,
    Variant,
    add_arguments,
    baseline,
    chosen,
    prepare,
    require_cuda,
    ways_of_bp,
    write,
)
from mmengine.config import Config

from mman.analysis.baselines import PARTS_NOTE
from mman.analysis.memory_plan import part_of_batch
from mman.analysis.tables import markdown_table, mebibytes
from mman.apis.memory_prediction import measure_memory, predict_memory
from mman.apis.models import build_local_model
from mman.cli import arguments as cli
from mman.utils.errors import one_line_errors
from mman.utils.flop_count import multiply_adds

# case, as in the names of the configs: their data set
CASES = {
    **dict.fromkeys(('resnet32_k16', 'resnet110_k55'), 'cifar10'),
    **dict.fromkeys(('resnet50_k2', 'resnet50_k4', 'resnet101_k2', 'resnet101_k4'), 'imagenet'),
    **dict.fromkeys(('resnet152_k2', 'vit-base_k4', 'resnet50_k17', 'resnet101_k34'), 'imagenet'),
}
METHODS = ('greedy', 'dgl', 'infopro', 'man', 'manpp')
# Greedy heads where no config has them, on ResNets at every unit; case: config and keys.
_HEAD = {'model.aux_head': dict(_delete_=True, type='LinearAuxHead')}
_UNITS = dict(_delete_=True, type='LocalBlockSplitter', strategy='uniform', stem='own')
GREEDY = {
    'resnet50_k17': ('dgl/resnet50_k4', _HEAD | {'model.splitter': _UNITS | {'num_blocks': 17}}),
    'resnet101_k34': ('dgl/resnet101_k4', _HEAD | {'model.splitter': _UNITS | {'num_blocks': 34}}),
    'vit-base_k4': (
        'manpp/vit-base_k4',
        {'model.aux_head': _HEAD['model.aux_head'] | {'norm': dict(type='LN')}},
    ),
}
# way to find the bytes: device of the iteration
HOWS = {'fake': None, 'real': 'cpu', 'cuda': 'cuda'}
# way to train blocks: what follows the names of its rows
ORDERS = {'joint': '', 'single': '/one at a time', 'cached': '/one at a time, cached'}


def variants(case: str, batch: int) -> Iterator[Variant]:
    """What is compared in a case."""
    network, data = case.split('_')[0], CASES[case]
    yield from ways_of_bp(case, f'bp/{network}_{data}.py')
    named = {method: (f'{method}/{case}', {}) for method in METHODS}
    if data == 'imagenet':
        searched = {'model.splitter.strategy': 'memory', 'model.splitter.batch_size': batch}
        named |= {f'{method}/split=memory': (f'{method}/{case}', searched) for method in METHODS}
    if case in GREEDY:
        named['greedy'] = GREEDY[case]
    for name, (stem, options) in named.items():
        config = f'{stem}_{data}.py'
        if (CONFIGS / config).is_file():
            yield Variant(case, name, config, options)
            for parts in ('block', 'all'):
                recomputed = options | {'model.recompute': parts}
                yield Variant(case, f'{name}/recompute={parts}', config, recomputed)


def trainings(cfg: Config, order: str) -> list[tuple[Config, bool]]:
    """The trainings that an order takes, and whether each is on cached features."""
    if order == 'joint':
        return [(cfg, False)]
    found = []
    for k in range(build_local_model(cfg).num_blocks):
        one = Config(cfg.to_dict())
        one.model.train_blocks = [k]
        # There is nothing to cache before the first block.
        found.append((one, order == 'cached' and k > 0))
    return found


def measure(variant: Variant, order: str, batch: int, hows: list[str]) -> dict:
    """The record of one variant, trained in an order.

    ``peak_bytes`` has a figure for every way to find it, that of the training that needs most;
    ``host_bytes`` is what is kept on the CPU besides, as predicted, and ``prediction`` the whole
    :class:`.MemoryReport`. ``multiply_adds`` are of all trainings and all parts of a batch. A peak
    is None where the memory of the GPU did not suffice.
    """
    cfg = variant.load()
    parts = cfg.optim_wrapper.get('accumulative_counts', 1)
    size = part_of_batch(batch, parts)
    needed = trainings(cfg, order)
    reports = [predict_memory(one, size, cached) for one, cached in needed]
    report, (worst, cached) = max(
        zip(reports, needed, strict=True), key=lambda pair: pair[0].peak + pair[0].host
    )
    model = build_local_model(cfg)
    record = variant.record()
    record['variant'] += ORDERS[order]
    return dict(
        **record,
        ends=list(model.block_ends),
        parameters=sum(p.numel() for p in model.parameters()),
        peak_bytes={
            how: measured_peak(worst, size, device, cached) if device else report.peak
            for how, device in HOWS.items()
            if how in hows
        },
        host_bytes=report.host,
        multiply_adds=multiply_adds(parts * sum(one.flops for one in reports)),
        peaks=[one.peak for one in reports],
        prediction=asdict(report),
    )


def measured_peak(cfg: Config, batch: int, device: str, cached: bool) -> int | None:
    """Peak bytes of a real iteration; None if the memory of the GPU did not suffice."""
    try:
        return measure_memory(cfg, batch, device, cached)
    except torch.OutOfMemoryError:
        return None


def add_ratios(records: list[dict]) -> None:
    """Give every record ``ratio``: its bytes over those of BP, each found the same way."""
    for record in records:
        plain, host = baseline(records, record, 'case', variant=BASELINE), record['host_bytes']
        peaks, whole = record['peak_bytes'], plain['peak_bytes']
        record['ratio'] = {
            how: (n + host) / whole[how] if n and whole[how] else None for how, n in peaks.items()
        }
        record['multiply_adds_over_bp'] = record['multiply_adds'] / plain['multiply_adds']


def report(records: list[dict], hows: list[str]) -> str:
    """All records as a table; a measurement beside a prediction says how far off that is."""
    rows = []
    for record in records:
        peaks = record['peak_bytes']
        row = dict(case=record['case'], variant=record['variant'], K=str(len(record['ends'])))
        for how in hows:
            ratio = record['ratio'][how]
            row[f'{how}, MiB'] = mebibytes(peaks[how]) if peaks[how] else 'out of memory'
            row[f'{how} over bp'] = '-' if ratio is None else f'{ratio:.3f}'
        row['host, MiB'] = mebibytes(record['host_bytes'])
        row['multiply-adds over bp'] = f'{record["multiply_adds_over_bp"]:.2f}'
        for how in hows if 'fake' in hows else ():
            if how != 'fake':
                off = f'{100 * (peaks["fake"] / peaks[how] - 1):+.2f} %' if peaks[how] else '-'
                row[f'fake to {how}'] = off
        rows.append(row)
    return markdown_table(rows, left=(0, 1))


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('cases', nargs='+', choices=CASES, metavar='CASE', help=', '.join(CASES))
    text = 'predict on fake tensors, count live bytes of a real iteration on the CPU, or ask '
    text += "the GPU's allocator [fake]"
    parser.add_argument('--how', nargs='+', choices=HOWS, default=['fake'], help=text)
    text = 'all blocks at once, one at a time, or so on cached features [joint]'
    parser.add_argument('--order', nargs='+', choices=ORDERS, default=['joint'], help=text)
    add_arguments(parser, batch=128)
    return parser


def main() -> None:
    """Measure, print the table and write the file."""
    parser = build_parser()
    args = parser.parse_args()
    hows = list(dict.fromkeys(args.how))
    records = []
    with one_line_errors(parser):
        prepare('memory')
        if 'cuda' in hows:
            require_cuda('--how cuda')
        kinds = [v for case in dict.fromkeys(args.cases) for v in variants(case, args.batch)]
        for kind in chosen(kinds, args.only):
            cli.tell(f'{kind.case}: {kind.variant}')
            # BP has one block, which is trained at once.
            orders = ['joint'] if kind.config.startswith('bp/') else args.order
            records += [measure(kind, order, args.batch, hows) for order in orders]
    add_ratios(records)
    print(f'Peak of an iteration of {args.batch} images:\n\n{report(records, hows)}\n')
    print(PARTS_NOTE)
    write(args, records)


if __name__ == '__main__':
    main()
