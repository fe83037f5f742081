"""Time what the gradients' way between processes adds to a training iteration.

For every config and number of ranks the same model is trained side by side
with each kind of reduction and with none, one iteration of each in turn. The
exposed communication of a kind is its median time less that of training
without communication.
"""

import argparse
import copy
import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median, quantiles

import mmengine
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmpretrain.structures import DataSample
from torch import multiprocessing, nn

from mman import apis
from mman.analysis.tables import markdown_table
from mman.apis.models import build_local_model
from mman.cli.arguments import at_least, new_file
from mman.engine.standalone import StandaloneTraining
from mman.engine.wrappers import LocalDistributedDataParallel
from mman.registry import register_all_modules
from mman.utils.errors import one_line_errors

CONFIGS = ('configs/man/resnet32_k16_cifar10.py', 'configs/man/resnet110_k55_cifar10.py')
WARM_UP = 2
GROUP = 4
TIMEOUT = timedelta(minutes=5)
HEADINGS = (
    'config',
    'ranks',
    'K',
    'gradients',
    'median',
    'its quartiles',
    'exposed',
    'its quartiles',
)


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Args:
        name (str): As in the table.
        num_blocks (int): K.
        reduction (dict | None): Arguments of LocalDistributedDataParallel;
            None for no communication.
    """

    name: str
    num_blocks: int
    reduction: dict | None


def variants(num_blocks: int) -> list[Variant]:
    """What is compared for a config of so many blocks; K=1 is backpropagation."""
    flat = {'all-reduce per block': 1}
    if num_blocks > GROUP:
        flat[f'all-reduce per {GROUP} blocks'] = GROUP
    flat['one all-reduce'] = num_blocks
    local = [
        Variant('not sent', num_blocks, None),
        Variant('DDP per block', num_blocks, dict(reducer='ddp')),
        *(
            Variant(name, num_blocks, dict(reducer='flat', blocks_per_reduction=size))
            for name, size in flat.items()
        ),
    ]
    plain = [Variant('not sent', 1, None), Variant('DDP', 1, dict(reducer='ddp'))]
    return plain if num_blocks == 1 else local + plain


class Trainer(StandaloneTraining):
    """A model, its optimizers and hooks, without a Runner.

    Args:
        cfg (Config): Of a LocalImageClassifier.
        variant (Variant): How it is trained.
        device (torch.device): Where.
    """

    def __init__(self, cfg: Config, variant: Variant, device: torch.device):
        model = seeded_model(cfg, variant.num_blocks).to(device)
        hooks = cfg.get('custom_hooks', []) if variant.num_blocks > 1 else []
        self.gradient_bytes = sum(
            p.numel() * p.element_size() for p in model.parameters() if p.requires_grad
        )
        if variant.reduction is not None:
            model = LocalDistributedDataParallel(model, **variant.reduction)
        super().__init__(model, cfg.optim_wrapper, hooks)


def seeded_model(cfg: Config, num_blocks: int | None = None) -> nn.Module:
    """The config's model in train mode, cut into another number of blocks if given."""
    cfg = copy.deepcopy(cfg)
    if num_blocks is not None and num_blocks != cfg.num_blocks:
        cfg.model.splitter.pop('ends', None)
        cfg.model.splitter.num_blocks = num_blocks
    torch.manual_seed(0)
    model = build_local_model(cfg)
    model.init_weights()
    return model


def read_config(path: str) -> Config:
    """A config, and ``num_blocks`` beside it.

    Raises:
        UserError: If it has no LocalImageClassifier.
    """
    cfg = apis.load_config(path)
    cfg.num_blocks = None
    cfg.num_blocks = seeded_model(cfg).num_blocks
    return cfg


def random_batch(cfg: Config, count: int, rank: int, device: torch.device) -> dict:
    """One rank's own images and labels, as a data loader gives them."""
    generator = torch.Generator().manual_seed(rank)
    shape = (count, *cfg.model.input_shape)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, cfg.model.head.num_classes, (count,), generator=generator).tolist()
    samples = [DataSample().set_gt_label(label).to(device) for label in labels]
    return dict(inputs=images.to(device), data_samples=samples)


def timed(step: Callable[[], None], device: torch.device) -> float:
    """Seconds of one step that all ranks start together."""
    dist.barrier()
    _finish(device)
    start = time.perf_counter()
    step()
    _finish(device)
    return round(time.perf_counter() - start, 6)


def _finish(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def warmed_up(cfg: Config, variant: Variant, data: dict, device: torch.device) -> tuple:
    """A trainer after its first iterations, and the peak bytes of one more on a GPU.

    The bytes are all that this trainer has made live on its own.
    """
    before = torch.cuda.memory_allocated(device) if device.type == 'cuda' else 0
    trainer = Trainer(cfg, variant, device)
    for _ in range(WARM_UP):
        trainer.step(data)
    if device.type != 'cuda':
        return trainer, None
    torch.cuda.reset_peak_memory_stats(device)
    trainer.step(data)
    return trainer, torch.cuda.max_memory_allocated(device) - before


def measure(
    cfg: Config, batch: int, iterations: int, rank: int, device: torch.device
) -> list[dict]:
    """What one rank has measured of every variant."""
    data = random_batch(cfg, batch, rank, device)
    kinds = variants(cfg.num_blocks)
    if device.type == 'cuda':
        # Libraries take their workspaces now, not in the first one measured.
        warmed_up(cfg, kinds[0], data, device)
    trainers, results = [], []
    for kind in kinds:
        trainer, peak = warmed_up(cfg, kind, data, device)
        trainers.append(trainer)
        results.append(dict(times=[], peak_bytes=peak, gradient_bytes=trainer.gradient_bytes))
    for i in range(iterations):
        # Another one is first in every round.
        for place in range(len(kinds)):
            k = (i + place) % len(kinds)
            results[k]['times'].append(timed(lambda k=k: trainers[k].step(data), device))
    return results


def run_rank(rank: int, world: int, paths: list[str], args: argparse.Namespace, folder: str):
    """What every process does: all configs, results to a file."""
    prepare()
    device = torch.device('cpu')
    if uses_gpus(world):
        device = torch.device('cuda', rank)
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend(world),
        init_method=f'file://{folder}/rendezvous',
        rank=rank,
        world_size=world,
        timeout=TIMEOUT,
    )
    results = [
        measure(read_config(path), args.batch, args.iterations, rank, device) for path in paths
    ]
    Path(folder, f'rank{rank}.json').write_text(json.dumps(results))
    dist.destroy_process_group()


def prepare() -> None:
    """What every process needs before it builds anything."""
    # How every parameter was initialised would be logged otherwise.
    MMLogger.get_instance('communication', log_level='WARNING')
    register_all_modules()
    torch.set_num_threads(1)


def uses_gpus(world: int) -> bool:
    """Whether every rank has a GPU of its own."""
    return torch.cuda.is_available() and torch.cuda.device_count() >= world


def backend(world: int) -> str:
    """Backend of torch.distributed for so many ranks."""
    return 'nccl' if uses_gpus(world) else 'gloo'


def run(paths: list[str], num_blocks: list[int], world: int, args: argparse.Namespace) -> list:
    """Measure all configs with so many ranks; a record for each variant of each."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(run_rank, (world, paths, args, folder), nprocs=world)
        ranks = [json.loads(Path(folder, f'rank{r}.json').read_text()) for r in range(world)]
    return [
        dict(
            config=path,
            ranks=world,
            backend=backend(world),
            variant=kind.name,
            num_blocks=kind.num_blocks,
            communicates=kind.reduction is not None,
            gradient_bytes=ranks[0][c][v]['gradient_bytes'],
            peak_bytes=[rank[c][v]['peak_bytes'] for rank in ranks],
            times=[rank[c][v]['times'] for rank in ranks],
        )
        for c, (path, blocks) in enumerate(zip(paths, num_blocks, strict=True))
        for v, kind in enumerate(variants(blocks))
    ]


def slowest(record: dict) -> list[float]:
    """Time of each iteration: that of its slowest rank, in milliseconds."""
    return [1000 * max(times) for times in zip(*record['times'], strict=True)]


def alone(records: list[dict], record: dict) -> dict:
    """The same training without communication."""
    same = ('config', 'ranks', 'num_blocks')
    return next(
        other
        for other in records
        if not other['communicates'] and all(other[key] == record[key] for key in same)
    )


def rows(records: list[dict]) -> Iterator[list[str]]:
    """Cells of the table."""
    with_bytes = has_bytes(records)
    for record in records:
        times = slowest(record)
        cells = [Path(record['config']).stem, str(record['ranks']), str(record['num_blocks'])]
        cells += [record['variant'], f'{median(times):.1f}', quartiles(times)]
        cells += (
            exposed(times, slowest(alone(records, record))) if record['communicates'] else ['', '']
        )
        if with_bytes:
            cells.append(largest_peak(record))
        yield cells


def exposed(times: list[float], without: list[float]) -> list[str]:
    """Difference of the medians, and quartiles of the differences within each round."""
    rounds = [a - b for a, b in zip(times, without, strict=True)]
    return [f'{median(times) - median(without):+.1f}', quartiles(rounds)]


def largest_peak(record: dict) -> str:
    """The largest peak of all ranks in MiB."""
    peaks = [peak for peak in record['peak_bytes'] if peak is not None]
    return f'{max(peaks) / 2**20:.1f}' if peaks else ''


def has_bytes(records: list[dict]) -> bool:
    """Whether peak bytes were measured of anything."""
    return any(peak is not None for record in records for peak in record['peak_bytes'])


def quartiles(values: list[float]) -> str:
    """First and third quartile."""
    first, _, third = quantiles(values, n=4, method='inclusive')
    return f'{first:.1f} to {third:.1f}'


def table(records: list[dict]) -> str:
    """All records as Markdown, times in milliseconds."""
    headings = [*HEADINGS, 'peak, MiB'] if has_bytes(records) else list(HEADINGS)
    return markdown_table(headings, rows(records), left=(0, 3))


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('configs', nargs='*', default=CONFIGS, help=f'[{" ".join(CONFIGS)}]')
    parser.add_argument('--batch', type=at_least(2), default=32, help='images per rank [32]')
    parser.add_argument(
        '--ranks', type=at_least(1), nargs='+', default=[1, 2], help='numbers of processes [1 2]'
    )
    parser.add_argument(
        '--iterations', type=at_least(2), default=10, help='timed iterations of each variant [10]'
    )
    parser.add_argument(
        '--out', type=new_file('.json'), help='file for all times, in seconds per rank'
    )
    return parser


def settings(args: argparse.Namespace) -> dict:
    """What was measured with, for the file."""
    return dict(
        batch_per_rank=args.batch,
        iterations=args.iterations,
        warm_up=WARM_UP,
        threads_per_rank=1,
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        python=platform.python_version(),
        torch=torch.__version__,
        mmengine=mmengine.__version__,
    )


def main() -> None:
    """Measure, print the table and write the file."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        prepare()
        paths = list(args.configs)
        num_blocks = [read_config(path).num_blocks for path in paths]
        records = []
        for world in args.ranks:
            records += run(paths, num_blocks, world, args)
    print(f'Milliseconds per iteration, {args.batch} images per rank:\n\n{table(records)}')
    if args.out:
        text = json.dumps(dict(settings=settings(args), records=records))
        Path(args.out).write_text(text + '\n')


if __name__ == '__main__':
    main()
