"""Time how many images per second the per-image pipeline and the in-memory path deliver.

Both are the train dataloader and data preprocessor of CIFAR-10's base configs, each with every
number of worker processes, on the same pictures. Every round takes one epoch of each in turn,
another one first, so that what slows the machine down slows all of them. Unless a data root is
given, the pictures are random pixels in files of CIFAR-10's format.
"""

import argparse
import pickle
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from common import CONFIGS, baseline, prepare, quartiles, write
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch import nn
from torch.utils.data import DataLoader

from mman.analysis.tables import markdown_table
from mman.analysis.timing import in_turns, timed
from mman.cli.arguments import at_least, new_file
from mman.registry import MODELS
from mman.utils import UserError
from mman.utils.errors import one_line_errors

# What is compared; the first is the baseline.
PATHS = {'per image': 'cifar10.py', 'in memory': 'cifar10_in_memory.py'}
STAGES = ('loader', 'loader + preprocessor')
FILES = 5


def write_random_pictures(folder: str, count: int) -> None:
    """Train files in CIFAR-10's format, with at least so many pictures."""
    rng = np.random.default_rng(0)
    root = Path(folder, 'cifar-10-batches-py')
    root.mkdir()
    each = -(-count // FILES)
    for i in range(1, FILES + 1):
        data = rng.integers(0, 256, (each, 3072), dtype=np.uint8)
        batch = dict(data=data, labels=rng.integers(0, 10, each).tolist())
        (root / f'data_batch_{i}').write_bytes(pickle.dumps(batch, protocol=2))


def build(
    path: str, workers: int, data_root: str, args: argparse.Namespace
) -> tuple[DataLoader, nn.Module]:
    """Loader and data preprocessor of a data path, a key of ``PATHS``."""
    cfg = Config.fromfile(CONFIGS / '_base_' / 'datasets' / PATHS[path])
    loader = cfg.train_dataloader
    source = loader.dataset.get('dataset', loader.dataset)
    source.update(data_root=data_root, verify=False, download=False, indices=args.images)
    loader.update(batch_size=args.batch, num_workers=workers, drop_last=True)
    loader.update(persistent_workers=workers > 0, pin_memory=args.device.type == 'cuda')
    # A classifier builds mmpretrain's preprocessor where the config names none.
    preprocessor = MODELS.build({'type': 'ClsDataPreprocessor', **cfg.data_preprocessor})
    return Runner.build_dataloader(loader, seed=0), preprocessor.to(args.device)


def epoch(loader: DataLoader, preprocessor: nn.Module | None) -> None:
    """Deliver one epoch, through the preprocessor if it is given."""
    for batch in loader:
        if preprocessor is not None:
            preprocessor(batch, True)


def measure(data_root: str, args: argparse.Namespace) -> list[dict]:
    """Records of all paths, numbers of workers and stages."""
    runs = []
    for path in PATHS:
        for workers in args.workers:
            start = time.perf_counter()
            loader, preprocessor = build(path, workers, data_root, args)
            same = dict(images=len(loader) * args.batch, ready_after=time.perf_counter() - start)
            for stage, applied in zip(STAGES, (None, preprocessor), strict=True):
                record = dict(path=path, workers=workers, stage=stage, **same, seconds=[])
                # Starts the workers, and whatever else is done only once.
                epoch(loader, applied)
                runs.append((record, partial(epoch, loader, applied)))
    for record, work in in_turns(runs, args.rounds):
        record['seconds'].append(round(timed(work, args.device), 6))
    return [record for record, _ in runs]


def table(records: list[dict]) -> str:
    """All records as Markdown."""
    rows = []
    for record in records:
        plain = baseline(records, record, 'workers', 'stage', path=next(iter(PATHS)))
        found, others = ([r['images'] / s for s in r['seconds']] for r in (record, plain))
        first, third = quartiles(found)
        rows.append(
            {
                'path': record['path'],
                'workers': str(record['workers']),
                'what': record['stage'],
                'images/s': f'{median(found):,.0f}',
                'its quartiles': f'{first:,.0f} to {third:,.0f}',
                'over per image': f'{median(found) / median(others):.2f}',
            }
        )
    return markdown_table(rows, left=(0, 2))


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    add = parser.add_argument
    add('--data-root', help='folder that holds cifar-10-batches-py [random pixels]')
    add('--images', type=at_least(1), default=20480, help='an epoch [20480]')
    add('--batch', type=at_least(1), default=1024, help='images per batch [1024]')
    add('--workers', type=at_least(0), nargs='+', default=[0, 2], help='worker processes [0 2]')
    add('--rounds', type=at_least(2), default=5, help='timed epochs of each [5]')
    default = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    text = 'where batches are preprocessed [cuda if there is one, else cpu]'
    add('--device', type=torch.device, default=default, help=text)
    add('--out', type=new_file('.json'), help='file for all times, in seconds')
    return parser


def main() -> None:
    """Measure, print the table and write the file."""
    parser = build_parser()
    args = parser.parse_args()
    prepare('data_path')
    # As the Runner of every config does it.
    set_multi_processing(mp_start_method='fork', opencv_num_threads=0)
    with one_line_errors(parser), tempfile.TemporaryDirectory() as folder:
        if args.images < args.batch:
            raise UserError(f'--images {args.images} should be at least one --batch {args.batch}')
        if args.data_root is None:
            write_random_pictures(folder, args.images)
        records = measure(args.data_root or folder, args)
    print(f'Batches of {args.batch} on {args.device}:\n\n{table(records)}')
    write(args, records)


if __name__ == '__main__':
    main()
