"""A training that a signal meets at a chosen point, and what is compared after it."""

import math
import os
import signal
from pathlib import Path

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer

from mman.registry import HOOKS

# What differs between two runs of the same training: times, folders, the commit of the code.
_TIMES = (
    'time',
    'data_time',
    'eta',
    'last_ckpt',
    'best_ckpt',
    'experiment_name',
    'cfg',
    'mmengine_version',
)


@HOOKS.register_module()
class InterruptHook(Hook):
    """Send this process a signal within an iteration, or within a validation after it.

    Args:
        at (int | None): The iteration, from 1. Defaults to None, never.
        name (str): Of the signal. Defaults to 'SIGKILL'.
        rank (int): Which process it meets. Defaults to 0.
        when (str): 'train' or 'val'. Defaults to 'train'.
    """

    # Before the losses, averages and schedules of the iteration are seen to.
    priority = 'HIGHEST'

    def __init__(self, at=None, name='SIGKILL', rank=0, when='train'):
        self.at, self.name, self.rank, self.when = at, name, rank, when

    def after_train_iter(self, runner, *args, **kwargs):
        self._meet(runner, runner.iter + 1, 'train')

    def after_val_iter(self, runner, *args, **kwargs):
        self._meet(runner, runner.iter, 'val')

    def _meet(self, runner, iteration, when):
        if (iteration, runner.rank, when) == (self.at, self.rank, self.when):
            # When it came.
            Path(runner.work_dir, 'interrupted').touch()
            os.kill(os.getpid(), getattr(signal, self.name))


def differences(first, second, path=''):
    """Paths within two checkpoints at which they are not the same to the bit."""
    if isinstance(first, HistoryBuffer) and isinstance(second, HistoryBuffer):
        first, second = first.data, second.data
    if type(first) is not type(second):
        return [path]
    if isinstance(first, dict):
        keys = {key for key in {*first, *second} if str(key).split('/')[-1] not in _TIMES}
        found = [f'{path}/{key}' for key in keys if (key in first) != (key in second)]
        return found + [
            found
            for key in keys
            if key in first and key in second
            for found in differences(first[key], second[key], f'{path}/{key}')
        ]
    if isinstance(first, list | tuple):
        if len(first) != len(second):
            return [path]
        return [
            found
            for index, (a, b) in enumerate(zip(first, second, strict=True))
            for found in differences(a, b, f'{path}/{index}')
        ]
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [path]
    if isinstance(first, np.ndarray):
        return [] if np.array_equal(first, second) else [path]
    same = first == second or isinstance(first, float) and math.isnan(first) and math.isnan(second)
    return [] if same else [path]


def state_of(checkpoint):
    """All of a checkpoint that a training goes on from."""
    return {key: value for key, value in checkpoint.items() if key != 'meta'} | {
        key: checkpoint['meta'][key] for key in ('epoch', 'iter', 'seed')
    }
