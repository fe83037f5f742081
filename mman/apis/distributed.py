"""Joining the processes of a launcher before a Runner exists."""

import gc
import logging
import os
import signal
import threading
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import get_rank, is_distributed
from mmengine.logging import print_log

from mman.utils.errors import UserError

# Where launchers say which process this is.
RANKS = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')
_TORCHRUN = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')


def launcher_rank(cfg: Config) -> int:
    """Number of this process among those of its launcher, which it may not have joined yet."""
    if is_distributed():
        return get_rank()
    return int(os.environ.get(RANKS.get(cfg.get('launcher'), ''), 0))


def join_processes(cfg: Config) -> None:
    """Join the process group of ``--launcher pytorch`` before the Runner would.

    mmengine selects a CUDA device first, so it cannot join on a CPU; there the
    backend is gloo. And after a restart of all processes it may meet the
    entries that the dead ones left in the launcher's store, and wait for them.
    When torchrun dies without ending its processes, they get SIGTERM, as they
    would from it. Other launchers are left to the Runner.

    Raises:
        UserError: If the launcher's environment is incomplete, or needs a GPU that is not there.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none' or is_distributed():
        return
    on_gpu = torch.cuda.is_available()
    if launcher != 'pytorch':
        if not on_gpu:
            raise UserError(f'--launcher {launcher} needs GPUs; on a CPU use --launcher pytorch')
        return
    missing = [name for name in _TORCHRUN if name not in os.environ]
    if missing:
        raise UserError(
            f'--launcher pytorch needs {", ".join(missing)} in the environment, which torchrun '
            'sets: start with tools/dist_train.sh'
        )
    dist_cfg = cfg.get('env_cfg', {}).get('dist_cfg', {})
    if on_gpu:
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        threading.Thread(target=_await_launcher, args=(os.getppid(),), daemon=True).start()
    _join(dist_cfg.get('backend', 'nccl') if on_gpu else 'gloo', dist_cfg.get('timeout'))


def _join(backend: str, seconds: float | None) -> None:
    """Join the group of this start of the processes, apart from earlier ones."""
    limit = {} if seconds is None else dict(timeout=timedelta(seconds=seconds))
    store, rank, world_size = next(dist.rendezvous('env://', **limit))
    start = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
    dist.init_process_group(
        backend,
        store=dist.PrefixStore(f'start{start}', store),
        rank=rank,
        world_size=world_size,
        **limit,
    )


def _await_launcher(launcher: int) -> None:
    """Ask this process to end once its parent has, which was the process ``launcher``."""
    while os.getppid() == launcher:
        time.sleep(1)
    print_log(f'the launcher, process {launcher}, is gone', 'current', logging.WARNING)
    os.kill(os.getpid(), signal.SIGTERM)


def leave_processes() -> None:
    """Leave the process group, if one was joined, when all is done.

    A process that ends while threads of the group still run may abort, and its
    launcher would take that for a failure. Whoever calls this holds no Runner
    any more: its reducers keep the group's threads alive.
    """
    if is_distributed():
        gc.collect()
        dist.destroy_process_group()
