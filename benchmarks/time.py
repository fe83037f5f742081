"""Time per training iteration of the methods, over that of BP in the same run.

All variants of a case are built side by side and take turns: every round times
each of them, another one first, so that what slows the machine down slows all
of them. An iteration is a batch from host memory through the data preprocessor,
every block and its optimizer step, and the hooks that the config names; there
is no data loader and no log.
"""

import argparse
import time
from statistics import median, quantiles

import torch
from common import Variant, add_arguments, baseline, chosen, prepare, require_cuda, write
from mmengine.config import Config

from mman.analysis.tables import markdown_table, mebibytes
from mman.apis.random_batch import RandomBatchTraining
from mman.cli.arguments import at_least
from mman.utils.errors import one_line_errors
from mman.utils.flop_count import OperationCount

# case: network, K in the names of its configs, and keys that change the split
CASES = {
    'resnet32_k15-release': (
        'resnet32',
        'k16',
        {'model.splitter.num_blocks': 15, 'model.splitter.stem': 'fused'},
    ),
    'resnet32_k16': ('resnet32', 'k16', {}),
    'resnet110_k55': ('resnet110', 'k55', {}),
}
# The host head of MAN as a method of its own.
CROSS_ENTROPY = {'model.aux_head.task_loss': 'cross_entropy', 'model.aux_head.net': '2c2f'}
# The schedule's first learning rate: at its highest, random images would diverge.
LEARNING_RATE = 0.008
WARM_UP = 3


def variants(case: str) -> list[Variant]:
    """What is compared in a case."""
    network, blocks, split = CASES[case]

    def local(method: str, changed: str = '', options: dict | None = None) -> Variant:
        config = f'{method}/{network}_{blocks}_cifar10.py'
        return Variant(case, method + changed, config, {**split, **(options or {})})

    plain = f'bp/{network}_cifar10.py'
    return [
        Variant(case, 'bp', plain),
        Variant(case, 'bp/recompute=block', plain, {'model.recompute': 'block'}),
        local('greedy'),
        local('dgl'),
        local('infopro', '/cross_entropy', CROSS_ENTROPY),
        local('man'),
        local('manpp'),
        local('man', '/recompute=block', {'model.recompute': 'block'}),
        local('man', '/recompute=all', {'model.recompute': 'all'}),
        local('man', '/decoder=resize_first', {'model.aux_head.host.decoder': 'resize_first'}),
        local('man', '/decoder=conv_first', {'model.aux_head.host.decoder': 'conv_first'}),
        local(
            'man',
            '/decoder=resize_first/recompute=block',
            {'model.aux_head.host.decoder': 'resize_first', 'model.recompute': 'block'},
        ),
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


def warmed_up(
    cfg: Config, batch: int, device: torch.device
) -> tuple[RandomBatchTraining, int | None]:
    """A trainer after its first iterations, and the peak bytes of one more on a GPU.

    The bytes are all that this trainer has made live on its own.
    """
    on_gpu = device.type == 'cuda'
    before = torch.cuda.memory_allocated(device) if on_gpu else 0
    trainer = RandomBatchTraining(cfg, batch, device, cfg.get('custom_hooks', []))
    for _ in range(WARM_UP):
        trainer.step()
    if not on_gpu:
        return trainer, None
    torch.cuda.reset_peak_memory_stats(device)
    trainer.step()
    return trainer, torch.cuda.max_memory_allocated(device) - before


def operations(trainer: RandomBatchTraining) -> int:
    """Operations of an iteration, as :class:`.OperationCount` has them."""
    with OperationCount() as count:
        trainer.step()
    return count.total


def timed(trainer: RandomBatchTraining, iterations: int, device: torch.device) -> float:
    """Seconds per iteration."""
    _finish(device)
    start = time.perf_counter()
    for _ in range(iterations):
        trainer.step()
    _finish(device)
    return round((time.perf_counter() - start) / iterations, 7)


def _finish(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def measure(kinds: list[Variant], args: argparse.Namespace) -> list[dict]:
    """A record for each variant, with a time for each round."""
    device, options = torch.device(args.device), common_options(args)
    if device.type == 'cuda':
        # Libraries take their workspaces now, not in the first one measured.
        warmed_up(kinds[0].load(options), args.batch, device)
    trainers, records = [], []
    for kind in kinds:
        trainer, peak = warmed_up(kind.load(options), args.batch, device)
        trainers.append(trainer)
        records.append(
            dict(
                **kind.record(),
                ends=list(trainer.model.block_ends),
                parameters=sum(p.numel() for p in trainer.model.parameters()),
                peak_bytes=peak,
                # Compiled code is not made of them.
                operations=None if args.compile else operations(trainer),
                seconds=[],
            )
        )
    for i in range(args.rounds):
        for place in range(len(kinds)):
            k = (i + place) % len(kinds)
            records[k]['seconds'].append(timed(trainers[k], args.iterations, device))
    return records


def summarize(records: list[dict], batch: int) -> None:
    """Add to every record what follows from its times."""
    for record in records:
        times = record['seconds']
        record['median'] = median(times)
        record['quartiles'] = quantiles(times, n=4, method='inclusive')[::2]
        record['min'] = min(times)
        record['ratio'] = record['median'] / median(baseline(records, record)['seconds'])
        record['images_per_second'] = batch / record['median']


def report(records: list[dict]) -> str:
    """All records as a table, times in milliseconds."""
    headings = ['case', 'variant', 'K', 'median', 'its quartiles', 'min', 'over bp', 'images/s']
    headings.append('operations')
    on_gpu = records[0]['peak_bytes'] is not None
    rows = []
    for record in records:
        first, third = (1000 * value for value in record['quartiles'])
        cells = [record['case'], record['variant'], str(len(record['ends']))]
        cells += [f'{1000 * record["median"]:.2f}', f'{first:.2f} to {third:.2f}']
        cells += [f'{1000 * record["min"]:.2f}', f'{record["ratio"]:.3f}']
        cells += [f'{record["images_per_second"]:.1f}', str(record['operations'] or 'compiled')]
        rows.append([*cells, mebibytes(record['peak_bytes'])] if on_gpu else cells)
    return markdown_table([*headings, 'peak, MiB'] if on_gpu else headings, rows, left=(0, 1))


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    first = next(iter(CASES))
    parser.add_argument('--case', choices=CASES, default=first, help=f'network, split [{first}]')
    add_arguments(parser, batch=64)
    parser.add_argument('--rounds', type=at_least(2), default=20, help='times of each variant [20]')
    parser.add_argument(
        '--iterations', type=at_least(1), default=1, help='iterations of one time [1]'
    )
    parser.add_argument('--threads', type=at_least(1), help="threads on the CPU [torch's choice]")
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu', help='[cpu]')
    parser.add_argument(
        '--dtype',
        choices=('float32', 'bfloat16', 'float16'),
        default='float32',
        help='of autocast; float32 trains without it [float32]',
    )
    parser.add_argument(
        '--memory-format',
        choices=('contiguous', 'channels_last'),
        default='contiguous',
        help='model.memory_format [contiguous]',
    )
    parser.add_argument('--compile', action='store_true', help='set model.compile to {}')
    return parser


def main() -> None:
    """Measure, print the table and write the file."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        prepare('time')
        if args.device == 'cuda':
            require_cuda('--device cuda')
        if args.threads:
            torch.set_num_threads(args.threads)
        records = measure(chosen(variants(args.case), args.only), args)
    summarize(records, args.batch)
    print(f'Milliseconds per iteration of {args.batch} images:\n\n{report(records)}')
    write(args, records)


if __name__ == '__main__':
    main()
