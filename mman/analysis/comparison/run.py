"""Train one run of a comparison to its end and write down its top-1 accuracy.

A comparison starts it as ``python -m mman.analysis.comparison.run``, one process a run.
"""

import argparse
import json
import time
from pathlib import Path

from mman import apis
from mman.utils.atomic_file import write_atomically
from mman.utils.errors import one_line_errors
from mman.utils.resume_point import find_resume_point


def train(config: str, work_dir: Path) -> dict:
    """Train from the last checkpoint on, if there is one, and test the last weights.

    Returns:
        dict: ``top1`` in %, ``seconds`` of this process's training and
        ``resumed``, whether another process had begun it.
    """
    cfg = apis.load_config(config)
    cfg.launcher, cfg.work_dir = 'none', str(work_dir)
    resumed = find_resume_point(work_dir).path is not None
    if resumed:
        apis.set_resume(cfg, True)
    start = time.perf_counter()
    runner = apis.train_model(cfg)
    seconds = time.perf_counter() - start
    # A run that was stopped after its last checkpoint has no validation of it.
    top1 = runner.test()['accuracy/top1']
    return dict(top1=float(top1), seconds=round(seconds, 1), resumed=resumed)


def main() -> None:
    """Train, then write the result in one step: it is there whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('config', help='config file, seed included')
    parser.add_argument('work_dir', type=Path, help='folder of the run; goes on from what is there')
    parser.add_argument('result', type=Path, help='.json file to write at the end')
    args = parser.parse_args()
    with one_line_errors(parser):
        result = train(args.config, args.work_dir)
        write_atomically(args.result, f'{json.dumps(result)}\n'.encode())


if __name__ == '__main__':
    main()
