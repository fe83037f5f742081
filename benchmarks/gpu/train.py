"""Train rows of benchmarks/comparisons/cifar10_gpu.py, each from its last checkpoint on.

SIGTERM saves a checkpoint and ends it with exit code 75, as it ends ``mman train``.
"""

import argparse
import json
import pickle
from pathlib import Path

import numpy as np

from mman import apis
from mman.analysis.comparison.grid import make_grid
from mman.analysis.comparison.run import train
from mman.analysis.comparison.runs import Run
from mman.utils.errors import one_line_errors

COMPARISON = Path(__file__).parents[1] / 'comparisons' / 'cifar10_gpu.py'
SEED = 0


def make_runs(args: argparse.Namespace) -> list[Run]:
    """The rows that are asked for, with epochs and data set."""
    options = {
        'train_cfg.max_epochs': args.epochs,
        # The ramp of ten epochs belongs to a schedule of 160 and more.
        'param_scheduler.ramp_epochs': min(10, max(1, args.epochs // 5)),
    }
    data = dict(data_root=str(args.data), verify=not (args.other_files or args.dry_run))
    for loader in ('train', 'val', 'test'):
        base = f'{loader}_dataloader'
        if args.dry_run:
            options |= {f'{base}.batch_size': 16, f'{base}.dataset.dataset.indices': 32}
        options |= {f'{base}.dataset.dataset.{key}': value for key, value in data.items()}
    candidates, _ = make_grid(apis.load_config(str(COMPARISON), options))
    found = {one.name: one for one in candidates}
    return [Run(found[name], SEED, args.work) for name in args.methods]


def report(run: Run, result: dict) -> dict:
    """What is kept of a run: its accuracy, its log, and the time between its last checkpoints."""
    logs = sorted(run.work_dir.rglob('scalars.json'))
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    saved = sorted(path.stat().st_mtime for path in run.work_dir.glob('epoch_*.pth'))
    return dict(
        top1=result['top1'],
        num_blocks=run.candidate.num_blocks,
        batch=run.candidate.cfg.train_dataloader.batch_size,
        # An epoch of training, a validation and a checkpoint.
        seconds_per_epoch=saved[-1] - saved[-2] if len(saved) > 1 else None,
        scalars=lines,
    )


def write_random_cifar10(folder: Path) -> None:
    """Files in the layout of CIFAR-10 with a few random images."""
    files = folder / 'cifar-10-batches-py'
    files.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in [*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch']:
        data = rng.integers(0, 256, (40, 3072), dtype=np.uint8)
        batch = dict(data=data, labels=[i % 10 for i in range(40)])
        (files / name).write_bytes(pickle.dumps(batch))


def main() -> None:
    """Train and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('methods', nargs='+', metavar='METHOD', help='rows of the comparison')
    parser.add_argument('--work', type=Path, required=True, help='folder of the runs')
    parser.add_argument('--epochs', type=int, required=True)
    parser.add_argument('--data', type=Path, help='folder of CIFAR-10')
    parser.add_argument('--other-files', action='store_true', help='not the official files')
    parser.add_argument('--dry-run', action='store_true', help='on a few random images')
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args()
    with one_line_errors(parser):
        if args.dry_run:
            args.data = args.work / 'data'
            write_random_cifar10(args.data)
        runs = make_runs(args)
        found = {}
        for run in runs:
            # Anew each time: the data may have moved.
            run.config.parent.mkdir(parents=True, exist_ok=True)
            run.cfg().dump(run.config)
            result = train(str(run.config), run.work_dir)
            found[run.candidate.name] = report(run, result)
    official = not (args.other_files or args.dry_run)
    content = dict(epochs=args.epochs, seed=SEED, official=official, runs=found)
    args.out.write_text(json.dumps(content))


if __name__ == '__main__':
    main()
