"""Time how many images per second the per-image pipeline and the in-memory path deliver.

Both are the train dataloader and data preprocessor of CIFAR-10's base configs,
each with every number of worker processes, on the same pictures. Every round
takes one epoch of each in turn, another one first, so that what slows the
machine down slows all of them. Unless a data root is given, the pictures are
random pixels in files of CIFAR-10's format.
"""

import argparse
import json
import pickle
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import mmengine
import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch import nn
from torch.utils.data import DataLoader

from mman.analysis.tables import markdown_table
from mman.cli.arguments import at_least, new_file
from mman.registry import MODELS, register_all_modules
from mman.utils import UserError
from mman.utils.errors import one_line_errors

FOLDER = Path(__file__).resolve().parents[1] / 'configs' / '_base_' / 'datasets'
# What is compared; the first is the baseline.
PATHS = {'per image': 'cifar10.py', 'in memory': 'cifar10_in_memory.py'}
STAGES = ('loader', 'loader + preprocessor')
FILES = 5
HEADINGS = ('path', 'workers', 'what', 'images/s', 'its quartiles', 'over per image')


class Variant:
    """One data path, ready to deliver.

    Args:
        path (str): Key of ``PATHS``.
        workers (int): Worker processes of its loader.
        data_root (str): Folder with ``cifar-10-batches-py``.
        args (argparse.Namespace): Of this benchmark.
    """

    def __init__(self, path: str, workers: int, data_root: str, args: argparse.Namespace):
        cfg = Config.fromfile(FOLDER / PATHS[path])
        loader = cfg.train_dataloader
        source = loader.dataset.get('dataset', loader.dataset)
        source.update(data_root=data_root, verify=False, download=False, indices=args.images)
        loader.update(batch_size=args.batch, num_workers=workers, drop_last=True)
        loader.update(persistent_workers=workers > 0, pin_memory=args.device.type == 'cuda')
        self.path, self.workers = path, workers
        start = time.perf_counter()
        self.loader: DataLoader = Runner.build_dataloader(loader, seed=0)
        self.ready_after = round(time.perf_counter() - start, 6)
        self.images = len(self.loader) * args.batch
        self.seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
        self._preprocessor: nn.Module = MODELS.build(_typed(cfg.data_preprocessor))
        self._preprocessor.to(args.device)
        self._device = args.device

    def epoch(self, stage: str) -> float:
        """Seconds of one epoch; with the preprocessor, until the device has finished."""
        self._finish()
        start = time.perf_counter()
        for batch in self.loader:
            if stage == STAGES[1]:
                self._preprocessor(batch, True)
        self._finish()
        return round(time.perf_counter() - start, 6)

    def record(self) -> Iterator[dict]:
        """What was measured, for each stage."""
        for stage, seconds in self.seconds.items():
            yield dict(
                path=self.path,
                workers=self.workers,
                stage=stage,
                images=self.images,
                ready_after=self.ready_after,
                seconds=seconds,
            )

    def _finish(self) -> None:
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)


def _typed(cfg: dict) -> dict:
    """A classifier builds mmpretrain's preprocessor where the config names none."""
    return {'type': 'ClsDataPreprocessor', **cfg}


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


def measure(data_root: str, args: argparse.Namespace) -> list[dict]:
    """Records of all variants."""
    variants = [Variant(path, n, data_root, args) for path in PATHS for n in args.workers]
    runs = [(variant, stage) for variant in variants for stage in STAGES]
    for variant, stage in runs:
        # Starts the workers, and whatever else is done only once.
        variant.epoch(stage)
    for i in range(args.rounds):
        for place in range(len(runs)):
            variant, stage = runs[(i + place) % len(runs)]
            variant.seconds[stage].append(variant.epoch(stage))
    return [record for variant in variants for record in variant.record()]


def rates(record: dict) -> list[float]:
    """Images per second of each round."""
    return [record['images'] / seconds for seconds in record['seconds']]


def baseline(records: list[dict], record: dict) -> dict:
    """The per-image pipeline with as many workers, in the same stage."""
    same = ('workers', 'stage')
    return next(
        other
        for other in records
        if other['path'] == next(iter(PATHS)) and all(other[key] == record[key] for key in same)
    )


def table(records: list[dict]) -> str:
    """All records as Markdown."""
    lines = []
    for record in records:
        found = rates(record)
        first, _, third = quantiles(found, n=4, method='inclusive')
        ratio = median(found) / median(rates(baseline(records, record)))
        cells = [record['path'], str(record['workers']), record['stage']]
        lines.append(
            [*cells, f'{median(found):,.0f}', f'{first:,.0f} to {third:,.0f}', f'{ratio:.2f}']
        )
    return markdown_table(HEADINGS, lines, left=(0, 2))


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--data-root', help='folder that holds cifar-10-batches-py [random pixels]')
    parser.add_argument('--images', type=at_least(1), default=20480, help='an epoch [20480]')
    parser.add_argument('--batch', type=at_least(1), default=1024, help='images per batch [1024]')
    parser.add_argument(
        '--workers', type=at_least(0), nargs='+', default=[0, 2], help='worker processes [0 2]'
    )
    parser.add_argument('--rounds', type=at_least(2), default=5, help='timed epochs of each [5]')
    parser.add_argument(
        '--device',
        type=torch.device,
        default=torch.device('cuda' if torch.cuda.is_available() else 'cpu'),
        help='where batches are preprocessed [cuda if there is one, else cpu]',
    )
    parser.add_argument('--out', type=new_file('.json'), help='file for all times, in seconds')
    return parser


def settings(args: argparse.Namespace) -> dict:
    """What was measured with, for the file."""
    return dict(
        batch=args.batch,
        rounds=args.rounds,
        random_pixels=args.data_root is None,
        device=str(args.device),
        gpu=torch.cuda.get_device_name() if args.device.type == 'cuda' else None,
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=torch.__version__,
        mmengine=mmengine.__version__,
    )


def main() -> None:
    """Measure, print the table and write the file."""
    parser = build_parser()
    args = parser.parse_args()
    register_all_modules()
    # As the Runner of every config does it.
    set_multi_processing(mp_start_method='fork', opencv_num_threads=0)
    with one_line_errors(parser), tempfile.TemporaryDirectory() as folder:
        if args.images < args.batch:
            raise UserError(f'--images {args.images} should be at least one --batch {args.batch}')
        if args.data_root is None:
            write_random_pictures(folder, args.images)
        records = measure(args.data_root or folder, args)
    print(f'Batches of {args.batch} on {args.device}:\n\n{table(records)}')
    if args.out:
        text = json.dumps(dict(settings=settings(args), records=records))
        Path(args.out).write_text(text + '\n')


if __name__ == '__main__':
    main()
