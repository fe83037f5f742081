"""Time what the gradients' way between processes adds to a training iteration.

For every config and number of ranks the same model is trained side by side with each kind of
reduction and with none, one iteration of each in turn. The exposed communication of a kind is its
median time less that of training without communication.
"""

import argparse
import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from common import all_warmed_up, baseline, in_processes, prepare, quartiles, write
from mmengine.config import Config

from mman import apis
from mman.analysis.tables import markdown_table, mebibytes
from mman.analysis.timing import in_turns, timed
from mman.apis.models import build_local_model
from mman.apis.random_batch import RandomBatchTraining
from mman.cli.arguments import at_least, new_file
from mman.engine.wrappers import LocalDistributedDataParallel
from mman.utils.errors import one_line_errors

CONFIGS = ('configs/man/resnet32_k16_cifar10.py', 'configs/man/resnet110_k55_cifar10.py')
WARM_UP = 2
GROUP = 4


@dataclass(frozen=True)
class Variant:
    """One way to train."""

    #: As in the table.
    name: str
    #: K.
    num_blocks: int
    #: Arguments of LocalDistributedDataParallel; None for no communication.
    reduction: dict | None


def variants(num_blocks: int) -> list[Variant]:
    """What is compared for a config of so many blocks; K=1 is backpropagation."""
    plain = [Variant('not sent', 1, None), Variant('DDP', 1, dict(reducer='ddp'))]
    if num_blocks == 1:
        return plain
    reductions = {'not sent': None, 'DDP per block': dict(reducer='ddp')}
    flat = {'all-reduce per block': 1}
    if num_blocks > GROUP:
        flat[f'all-reduce per {GROUP} blocks'] = GROUP
    for name, size in (flat | {'one all-reduce': num_blocks}).items():
        reductions[name] = dict(reducer='flat', blocks_per_reduction=size)
    return [Variant(name, num_blocks, kind) for name, kind in reductions.items()] + plain


class Trainer(RandomBatchTraining):
    """A training on one batch whose gradients are reduced as a variant says."""

    def __init__(self, cfg: Config, variant: Variant, batch: int, device: torch.device):
        cfg = copy.deepcopy(cfg)
        if variant.num_blocks == 1:
            cfg.model.splitter = dict(type='LocalBlockSplitter', num_blocks=1)
            cfg.custom_hooks = []
        super().__init__(cfg, batch, device, cfg.get('custom_hooks', []))
        self.gradient_bytes = sum(p.nbytes for p in self.model.parameters() if p.requires_grad)
        if variant.reduction is not None:
            self.model = LocalDistributedDataParallel(self.model, **variant.reduction)


def measure(num_blocks: dict[str, int], args: argparse.Namespace) -> list[list[dict]]:
    """What one rank has measured of every variant of every config."""
    on_gpu = dist.get_backend() == 'nccl'
    device = torch.device('cuda', dist.get_rank()) if on_gpu else torch.device('cpu')
    results = []
    for path, count in num_blocks.items():
        cfg = apis.load_config(path)
        makes = [partial(Trainer, cfg, kind, args.batch, device) for kind in variants(count)]
        runs = [
            (trainer, dict(times=[], peak_bytes=peak, gradient_bytes=trainer.gradient_bytes))
            for trainer, peak in all_warmed_up(makes, WARM_UP, device)
        ]
        for trainer, result in in_turns(runs, args.iterations):
            # All ranks start together.
            dist.barrier()
            result['times'].append(round(timed(trainer.step, device), 6))
        results.append([result for _, result in runs])
    return results


def run(num_blocks: dict[str, int], world: int, args: argparse.Namespace) -> list[dict]:
    """Measure all configs, K by their paths, with so many ranks; a record for each variant."""
    # NCCL where every rank has a GPU of its own.
    gpus = torch.cuda.is_available() and torch.cuda.device_count() >= world
    backend = 'nccl' if gpus else 'gloo'
    ranks = in_processes(measure, (num_blocks, args), world, backend)
    return [
        dict(
            config=path,
            ranks=world,
            backend=backend,
            variant=kind.name,
            num_blocks=kind.num_blocks,
            communicates=kind.reduction is not None,
            gradient_bytes=ranks[0][c][v]['gradient_bytes'],
            peak_bytes=[rank[c][v]['peak_bytes'] for rank in ranks],
            times=[rank[c][v]['times'] for rank in ranks],
        )
        for c, (path, blocks) in enumerate(num_blocks.items())
        for v, kind in enumerate(variants(blocks))
    ]


def slowest(record: dict) -> list[float]:
    """Time of each iteration: that of its slowest rank, in milliseconds."""
    return [1000 * max(times) for times in zip(*record['times'], strict=True)]


def exposed(records: list[dict], record: dict) -> tuple[str, str]:
    """What communication adds: difference of the medians, and quartiles of those by round."""
    if not record['communicates']:
        return '', ''
    alone = baseline(records, record, 'config', 'ranks', 'num_blocks', communicates=False)
    times, without = slowest(record), slowest(alone)
    rounds = [a - b for a, b in zip(times, without, strict=True)]
    return f'{median(times) - median(without):+.1f}', span(rounds)


def span(values: list[float]) -> str:
    """First and third quartile."""
    first, third = quartiles(values)
    return f'{first:.1f} to {third:.1f}'


def table(records: list[dict]) -> str:
    """All records as Markdown, times in milliseconds, of all ranks the largest peak."""
    peaks = [[peak for peak in record['peak_bytes'] if peak is not None] for record in records]
    rows = []
    for record, found in zip(records, peaks, strict=True):
        times, (added, spread) = slowest(record), exposed(records, record)
        row = {
            'config': Path(record['config']).stem,
            'ranks': str(record['ranks']),
            'K': str(record['num_blocks']),
            'gradients': record['variant'],
            'median': f'{median(times):.1f}',
            'its quartiles': span(times),
            'exposed': added,
            'quartiles of exposed': spread,
        }
        if any(peaks):
            row['peak, MiB'] = mebibytes(max(found)) if found else ''
        rows.append(row)
    return markdown_table(rows, left=(0, 3))


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    add = parser.add_argument
    add('configs', nargs='*', default=CONFIGS, help=f'[{" ".join(CONFIGS)}]')
    add('--batch', type=at_least(2), default=32, help='images per rank [32]')
    add('--ranks', type=at_least(1), nargs='+', default=[1, 2], help='numbers of processes [1 2]')
    text = 'timed iterations of each variant [10]'
    add('--iterations', type=at_least(2), default=10, help=text)
    add('--out', type=new_file('.json'), help='file for all times, in seconds per rank')
    return parser


def main() -> None:
    """Measure, print the table and write the file."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        prepare('communication')
        num_blocks = {
            path: build_local_model(apis.load_config(path)).num_blocks for path in args.configs
        }
        records = [record for world in args.ranks for record in run(num_blocks, world, args)]
    print(f'Milliseconds per iteration, {args.batch} images per rank:\n\n{table(records)}')
    write(args, records)


if __name__ == '__main__':
    main()
