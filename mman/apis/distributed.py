"""Joining the processes of a launcher before a Runner exists."""

import os
from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.dist import is_distributed

from mman.utils.errors import UserError

_TORCHRUN = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')


def join_processes(cfg: Config) -> None:
    """Join the process group where mmengine cannot: on machines without a GPU.

    With a GPU the Runner does it, by ``env_cfg.dist_cfg``. It would select a
    CUDA device first, so on a CPU the group is joined here, over gloo, with
    the same timeout.

    Raises:
        UserError: If the launcher's environment is incomplete, or is not one
            that works without a GPU.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none' or is_distributed():
        return
    if launcher == 'pytorch':
        missing = [name for name in _TORCHRUN if name not in os.environ]
        if missing:
            raise UserError(
                f'--launcher pytorch needs {", ".join(missing)} in the environment, which torchrun '
                'sets: start with tools/dist_train.sh'
            )
    if torch.cuda.is_available():
        return
    if launcher != 'pytorch':
        raise UserError(f'--launcher {launcher} needs GPUs; on a CPU use --launcher pytorch')
    dist_cfg = cfg.get('env_cfg', {}).get('dist_cfg', {})
    timeout = dist_cfg.get('timeout')
    torch.distributed.init_process_group(
        'gloo', timeout=None if timeout is None else timedelta(seconds=timeout)
    )
