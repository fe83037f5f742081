"""Train ResNet-50 at 224 x 224 under a hard limit of the kernel on the memory of this process.

    python -m tests.helpers.capped MIB bp
    python -m tests.helpers.capped MIB BLOCK ...

``bp`` is backpropagation with every unit recomputed and steps in the backward pass; numbers, from
0 to 16, are units trained as blocks of their own, one after the other. The limit is on what comes
on top of the libraries.
"""

import gc
import re
import resource
import sys
from pathlib import Path

import torch
from mmengine.config import Config

from mman.analysis.baselines import BASELINES
from mman.apis.random_batch import RandomBatchTraining
from mman.registry import register_all_modules

BATCH, BLOCKS = 16, 17


def config() -> Config:
    """Every unit a block, the stem too."""
    cfg = Config.fromfile('configs/dgl/resnet50_k4_imagenet.py')
    cfg.model.aux_head = dict(type='LinearAuxHead')
    cfg.model.splitter = dict(
        type='LocalBlockSplitter', num_blocks=BLOCKS, strategy='uniform', stem='own'
    )
    return cfg


def limit(mebibytes: int) -> None:
    """Allow so much more private memory than there is now; mapped files do not count."""
    status = Path('/proc/self/status').read_text()
    now = int(re.search(r'VmData:\s+(\d+) kB', status)[1]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (now + mebibytes * 2**20, resource.RLIM_INFINITY))


def train(cfg: Config) -> None:
    """Two iterations, so that the optimizers have their state in the second."""
    training = RandomBatchTraining(cfg, BATCH, torch.device('cpu'))
    for _ in range(2):
        training.step()


def main() -> None:
    """Limit, then train."""
    mebibytes, *what = sys.argv[1:]
    register_all_modules()
    torch.set_num_threads(1)
    # What libraries allocate once is there before.
    small = config()
    small.model.input_shape = (3, 32, 32)
    train(small)
    gc.collect()
    limit(int(mebibytes))
    if what == ['bp']:
        (cheapest,) = (one for one in BASELINES if one.name == 'bp-backward-step-checkpoint')
        train(cheapest.config(config()))
    for block in what if what != ['bp'] else ():
        cfg = config()
        cfg.model.train_blocks = [int(block)]
        train(cfg)
        gc.collect()
    print('trained')


if __name__ == '__main__':
    main()
