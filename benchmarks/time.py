"""Time per training iteration of the methods, over that of BP in the same run.

All variants of a case are built side by side and take turns: every round times each of them,
another one first, so that what slows the machine down slows all of them. An iteration is a batch
from host memory through the data preprocessor, every block and its optimizer step, and the hooks
that the config names; there is no data loader and no log. Of a batch in parts it is all parts, one
after the other.
"""

import argparse
import time
from functools import partial
from statistics import median

import torch
from common import (
    BASELINE,
    Variant,
    add_arguments,
    all_warmed_up,
    baseline,
    chosen,
    prepare,
    quartiles,
    require_cuda,
    ways_of_bp,
    write,
)

from mman.analysis.comparison.times import WholeBatchTraining
from mman.analysis.tables import markdown_table, mebibytes
from mman.analysis.timing import in_turns, timed
from mman.cli.arguments import at_least
from mman.utils.errors import UserError, one_line_errors
from mman.utils.flop_count import OperationCount

# case: network, K and data set in the names of its configs, and keys that change the split
CASES = {
    'resnet32_k15-release': (
        'resnet32_k16_cifar10',
        {'model.splitter.num_blocks': 15, 'model.splitter.stem': 'fused'},
    ),
    'resnet32_k16': ('resnet32_k16_cifar10', {}),
    'resnet110_k55': ('resnet110_k55_cifar10', {}),
    'resnet50_k4': ('resnet50_k4_imagenet', {}),
    'resnet101_k4': ('resnet101_k4_imagenet', {}),
}
# The host head of MAN as a method of its own.
CROSS_ENTROPY = {'model.aux_head.task_loss': 'cross_entropy', 'model.aux_head.net': '2c2f'}
# The schedule's first learning rate: at its highest, random images would diverge.
LEARNING_RATE = 0.008
WARM_UP = 3
CLOCKS = {'wall': time.perf_counter, 'process': time.process_time}


def variants(case: str) -> list[Variant]:
    """What is compared in a case."""
    stem, split = CASES[case]
    network, _, data = stem.split('_')

    def local(method: str, changed: str = '', options: dict | None = None) -> Variant:
        return Variant(case, method + changed, f'{method}/{stem}.py', split | (options or {}))

    block, resize = {'model.recompute': 'block'}, {'model.aux_head.host.decoder': 'resize_first'}
    if data == 'imagenet':
        methods = [local('dgl'), local('man'), local('man', '/recompute=block', block)]
        return [*ways_of_bp(case, f'bp/{network}_{data}.py'), *methods]
    return [
        *ways_of_bp(case, f'bp/{network}_{data}.py'),
        local('greedy'),
        local('dgl'),
        local('infopro', '/cross_entropy', CROSS_ENTROPY),
        local('man'),
        local('manpp'),
        local('man', '/recompute=block', block),
        local('man', '/recompute=all', {'model.recompute': 'all'}),
        local('man', '/decoder=resize_first', resize),
        local('man', '/decoder=conv_first', {'model.aux_head.host.decoder': 'conv_first'}),
        local('man', '/decoder=resize_first/recompute=block', resize | block),
    ]


def common_options(args: argparse.Namespace) -> dict:
    """Keys that the command line overrides in every config."""
    options = {'optim_wrapper.optimizer.lr': LEARNING_RATE}
    if args.memory_format != 'contiguous':
        options['model.memory_format'] = args.memory_format
    if args.compile:
        options['model.compile'] = {}
    if args.dtype != 'float32':
        options['optim_wrapper.type'] = 'BlockAmpOptimWrapper'
        options['optim_wrapper.dtype'] = args.dtype
    return options


def operations(trainer: WholeBatchTraining) -> int:
    """Operations of an iteration, as :class:`.OperationCount` has them."""
    with OperationCount() as count:
        trainer.step()
    return count.total


def measure(kinds: list[Variant], args: argparse.Namespace) -> list[dict]:
    """A record for each variant, with a time for each round."""
    device, options = torch.device(args.device), common_options(args)

    def make(kind: Variant) -> WholeBatchTraining:
        cfg = kind.load(options)
        parts = cfg.optim_wrapper.get('accumulative_counts', 1)
        return WholeBatchTraining(cfg, args.batch, device, cfg.get('custom_hooks', []), parts)

    def iterate(trainer: WholeBatchTraining) -> None:
        for _ in range(args.iterations):
            trainer.step()

    warm = all_warmed_up([partial(make, kind) for kind in kinds], WARM_UP, device)
    records = [
        dict(
            **kind.record(),
            ends=list(trainer.model.block_ends),
            parameters=sum(p.numel() for p in trainer.model.parameters()),
            peak_bytes=peak,
            # Compiled code is not made of them.
            operations=None if args.compile else operations(trainer),
            seconds=[],
        )
        for kind, (trainer, peak) in zip(kinds, warm, strict=True)
    ]
    for record, (trainer, _) in in_turns(list(zip(records, warm, strict=True)), args.rounds):
        seconds = timed(partial(iterate, trainer), device, CLOCKS[args.clock])
        record['seconds'].append(round(seconds / args.iterations, 7))
    return records


def summarize(records: list[dict], batch: int) -> None:
    """Add to every record what follows from its times."""
    for record in records:
        times, plain = record['seconds'], baseline(records, record, 'case', variant=BASELINE)
        record['median'] = median(times)
        record['quartiles'] = quartiles(times)
        record['min'] = min(times)
        record['ratio'] = record['median'] / median(plain['seconds'])
        record['images_per_second'] = batch / record['median']


def report(records: list[dict]) -> str:
    """All records as a table, times in milliseconds."""
    rows = []
    for record in records:
        first, third = (1000 * value for value in record['quartiles'])
        row = {
            'case': record['case'],
            'variant': record['variant'],
            'K': str(len(record['ends'])),
            'median': f'{1000 * record["median"]:.2f}',
            'its quartiles': f'{first:.2f} to {third:.2f}',
            'min': f'{1000 * record["min"]:.2f}',
            'over bp': f'{record["ratio"]:.3f}',
            'images/s': f'{record["images_per_second"]:.1f}',
            'operations': str(record['operations'] or 'compiled'),
        }
        if record['peak_bytes'] is not None:
            row['peak, MiB'] = mebibytes(record['peak_bytes'])
        rows.append(row)
    return markdown_table(rows, left=(0, 1))


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    first = next(iter(CASES))
    parser.add_argument('--case', choices=CASES, default=first, help=f'network, split [{first}]')
    add_arguments(parser, batch=64)
    add = parser.add_argument
    add('--rounds', type=at_least(2), default=20, help='times of each variant [20]')
    add('--iterations', type=at_least(1), default=1, help='iterations of one time [1]')
    add('--threads', type=at_least(1), help="threads on the CPU [torch's choice]")
    text = 'seconds that pass, or CPU seconds of this process, where others share the cores [wall]'
    add('--clock', choices=CLOCKS, default='wall', help=text)
    add('--device', choices=('cpu', 'cuda'), default='cpu', help='[cpu]')
    text = 'of autocast; float32 trains without it [float32]'
    add('--dtype', choices=('float32', 'bfloat16', 'float16'), default='float32', help=text)
    formats = ('contiguous', 'channels_last')
    text = 'model.memory_format [contiguous]'
    add('--memory-format', choices=formats, default=formats[0], help=text)
    add('--compile', action='store_true', help='set model.compile to {}')
    return parser


def main() -> None:
    """Measure, print the table and write the file."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        prepare('time')
        if args.device == 'cuda':
            require_cuda('--device cuda')
            if args.clock == 'process':
                raise UserError('--clock process does not count what a GPU does: it is for a CPU')
        if args.threads:
            torch.set_num_threads(args.threads)
        kinds = variants(args.case)
        if args.dtype != 'float32':
            kinds = [kind for kind in kinds if 'backward-step' not in kind.variant]
        records = measure(chosen(kinds, args.only), args)
    summarize(records, args.batch)
    print(f'Milliseconds per iteration of {args.batch} images:\n\n{report(records)}')
    write(args, records)


if __name__ == '__main__':
    main()
