"""Peak bytes of one training iteration, predicted or measured, over those of BP.

BP is backpropagation (one local block). Every method is taken as its config
has it and with the block, or all of it, recomputed in the backward pass; on
ImageNet also with the split that takes the fewest bytes.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict

import torch
from common import BASELINE, Variant, add_arguments, baseline, chosen, prepare, require_cuda, write
from mmengine.config import Config

from mman.analysis.tables import markdown_table, mebibytes
from mman.apis.memory_prediction import measure_memory, predict_memory
from mman.apis.models import build_local_model
from mman.utils.errors import one_line_errors

# case: network, K and data set, as in the names of the configs
CASES = {
    'resnet32_k16': ('resnet32', 'k16', 'cifar10'),
    'resnet110_k55': ('resnet110', 'k55', 'cifar10'),
    'resnet50_k2': ('resnet50', 'k2', 'imagenet'),
    'resnet50_k4': ('resnet50', 'k4', 'imagenet'),
    'resnet101_k2': ('resnet101', 'k2', 'imagenet'),
    'resnet101_k4': ('resnet101', 'k4', 'imagenet'),
    'resnet152_k2': ('resnet152', 'k2', 'imagenet'),
}
METHODS = {
    'cifar10': ('greedy', 'dgl', 'infopro', 'man', 'manpp'),
    'imagenet': ('dgl', 'infopro', 'man'),
}
# way to find the bytes: device of the iteration
HOWS = {'fake': None, 'real': 'cpu', 'cuda': 'cuda'}


def variants(case: str, batch: int) -> Iterator[Variant]:
    """What is compared in a case."""
    network, blocks, data = CASES[case]
    plain = f'bp/{network}_{data}.py'
    yield Variant(case, 'bp', plain)
    yield Variant(case, 'bp/recompute=block', plain, {'model.recompute': 'block'})
    splits = {'': {}}
    if data == 'imagenet':
        searched = {'model.splitter.strategy': 'memory', 'model.splitter.batch_size': batch}
        splits['/split=memory'] = searched
    for method in METHODS[data]:
        config = f'{method}/{network}_{blocks}_{data}.py'
        for suffix, split in splits.items():
            yield Variant(case, method + suffix, config, split)
            for parts in ('block', 'all'):
                name = f'{method}{suffix}/recompute={parts}'
                yield Variant(case, name, config, {**split, 'model.recompute': parts})


def measure(variant: Variant, batch: int, hows: list[str]) -> dict:
    """The record of one variant.

    ``peak_bytes`` has a figure for every way to find it; ``prediction``, of
    'fake' alone, is the whole :class:`.MemoryReport`. The figure is None where
    the memory of the GPU did not suffice.
    """
    cfg = variant.load()
    model = build_local_model(cfg)
    record = dict(
        **variant.record(),
        ends=list(model.block_ends),
        parameters=sum(p.numel() for p in model.parameters()),
        peak_bytes={},
        prediction=None,
    )
    for how in hows:
        if how == 'fake':
            report = predict_memory(cfg, batch)
            record['prediction'] = asdict(report)
            record['peak_bytes'][how] = report.peak
        else:
            record['peak_bytes'][how] = measured_peak(cfg, batch, HOWS[how])
    return record


def measured_peak(cfg: Config, batch: int, device: str) -> int | None:
    """Peak bytes of a real iteration; None if the memory of the GPU did not suffice."""
    try:
        return measure_memory(cfg, batch, device)
    except torch.OutOfMemoryError:
        return None


def over(count: int | None, plain: int | None) -> float | None:
    """A quotient; None if one of the two is."""
    return None if count is None or plain is None else count / plain


def add_ratios(records: list[dict]) -> None:
    """Give every record ``ratio``: its peaks over those of BP, each found the same way."""
    for record in records:
        plain = baseline(records, record, 'case', variant=BASELINE)['peak_bytes']
        record['ratio'] = {how: over(n, plain[how]) for how, n in record['peak_bytes'].items()}


def report(records: list[dict], hows: list[str]) -> str:
    """All records as a table; a measurement beside a prediction says how far off that is."""
    rows = []
    for record in records:
        peaks = record['peak_bytes']
        row = dict(case=record['case'], variant=record['variant'], K=str(len(record['ends'])))
        for how in hows:
            ratio, known = record['ratio'][how], peaks[how] is not None
            row[f'{how}, MiB'] = mebibytes(peaks[how]) if known else 'out of memory'
            row[f'{how} over bp'] = '-' if ratio is None else f'{ratio:.3f}'
        for how in hows if 'fake' in hows else ():
            if how != 'fake':
                off = over(peaks['fake'], peaks[how])
                row[f'fake to {how}'] = '-' if off is None else f'{100 * (off - 1):+.2f} %'
        rows.append(row)
    return markdown_table(rows, left=(0, 1))


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('cases', nargs='+', choices=CASES, metavar='CASE', help=', '.join(CASES))
    text = 'predict on fake tensors, count live bytes of a real iteration on the CPU, or ask '
    text += "the GPU's allocator [fake]"
    parser.add_argument('--how', nargs='+', choices=HOWS, default=['fake'], help=text)
    add_arguments(parser, batch=128)
    return parser


def main() -> None:
    """Measure, print the table and write the file."""
    parser = build_parser()
    args = parser.parse_args()
    hows = list(dict.fromkeys(args.how))
    with one_line_errors(parser):
        prepare('memory')
        if 'cuda' in hows:
            require_cuda('--how cuda')
        kinds = [v for case in dict.fromkeys(args.cases) for v in variants(case, args.batch)]
        records = [measure(kind, args.batch, hows) for kind in chosen(kinds, args.only)]
    add_ratios(records)
    print(f'Peak of an iteration of {args.batch} images:\n\n{report(records, hows)}')
    write(args, records)


if __name__ == '__main__':
    main()
