import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.distributed as dist
from mmengine.dist import is_distributed, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mman.registry import HOOKS
from mman.utils import integer_from
from mman.utils.preempted import Preempted

from ..pipeline import mesh_of
from .checkpoint_hook import CheckpointHook

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
# Seconds in which signals are one request: a launcher passes on what its processes got already.
_ONE_REQUEST = 1.0
_STOPPING = b'stopping, with a checkpoint; Ctrl-C again ends at once\n'


@HOOKS.register_module()
class PreemptionHook(Hook):
    """Stop at SIGTERM, SIGUSR1 or SIGINT (Ctrl-C) with a checkpoint, exit code 75.

    The current iteration is finished, ``preempted.pth`` saved, and
    :class:`mman.utils.preempted.Preempted` raised. At the end of an epoch the
    regular checkpoint is saved first. A validation is finished, unless a
    checkpoint of this very iteration is there already. A second signal, from
    one second after the first on, ends the process at once as it would without
    this hook. Workers of the data loaders ignore these signals unless the training
    itself sends them: a scheduler or a terminal may signal every process, and the
    iteration needs its data. A signal that the process ignored before stays ignored.
    Without this package's CheckpointHook it warns, and leaves the signals alone.

    With several processes, one that got the signal is enough: they agree once
    per interval, by an all-reduce of one number on the CPU. In a pipeline the
    signal goes to the first stage, which lets all stop after one iteration.

    Args:
        interval (int): Iterations, from 1, between two agreements; not used by one
            process. Defaults to 1.
    """

    # After everything that belongs to the iteration, its regular checkpoint included.
    priority = 'LOWEST'

    def __init__(self, interval: int = 1):
        integer_from(1, 'default_hooks.preemption.interval', interval)
        self.interval = interval
        self._first: tuple[int, float] | None = None
        self._before: dict[int, object] = {}
        self._group = None
        self._active = False

    def before_train(self, runner: Runner) -> None:
        """Take the signals over, if there is a hook that saves."""
        self._active = _saver(runner) is not None
        if not self._active:
            runner.logger.warning(
                "PreemptionHook: without default_hooks.checkpoint=dict(type='CheckpointHook', ...) "
                'SIGTERM, SIGUSR1 and Ctrl-C end the training at once, and nothing is saved'
            )
            return
        if is_distributed():
            # The training's own group may be one of GPUs; reading from them would wait for them.
            self._group = (
                dist.group.WORLD if dist.get_backend() == 'gloo' else dist.new_group(backend='gloo')
            )
        for loop in (runner.train_loop, runner.val_loop):
            if loop is not None:
                loader = loop.dataloader
                loader.worker_init_fn = partial(_start_worker, loader.worker_init_fn)
                loader._get_iterator = partial(_start_workers, loader._get_iterator)
        # Python allows handlers in the main thread alone.
        if threading.current_thread() is threading.main_thread():
            heeded = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heeded}

    def after_train_iter(self, runner: Runner, batch_idx: int, *args, **kwargs) -> None:
        """Stop within an epoch."""
        if not self._active:
            return
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        if by_epoch and self.end_of_epoch(runner.train_dataloader, batch_idx):
            return
        if self.every_n_train_iters(runner, self.interval) and self._requested(runner):
            self._stop(runner, runner.epoch, runner.iter + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        """Stop after an epoch; the loop by iteration is done then."""
        if not self._active:
            return
        if isinstance(runner.train_loop, EpochBasedTrainLoop) and self._requested(runner):
            self._stop(runner, runner.epoch + 1, runner.iter)

    def after_val_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Stop a validation whose model is on the disk."""
        # Ranks may have different numbers of batches here, so they cannot agree.
        if self._first is None or is_distributed():
            return
        saver = _saver(runner)
        if saver.saved_iter == runner.iter:
            self._leave(runner, saver.last_ckpt)

    def after_train(self, runner: Runner) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, frame: object) -> None:
        """Called at a signal, between two steps of Python."""
        if self._first is None:
            self._first = number, time.monotonic()
            if number == signal.SIGINT and is_main_process():
                # Not by print, which the signal may have interrupted.
                os.write(2, _STOPPING)
        elif time.monotonic() - self._first[1] > _ONE_REQUEST:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _requested(self, runner: Runner) -> bool:
        """Whether any rank was asked to stop."""
        if mesh_of(runner.model) is not None:
            # Its stages are in different iterations, and agree on one without waiting.
            if self._first is not None:
                runner.model.ask_to_stop()
            return runner.model.stopping
        if self._group is None:
            return self._first is not None
        flag = torch.tensor([self._first is not None], dtype=torch.int32)
        dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._group)
        return bool(flag)

    def _stop(self, runner: Runner, epoch: int, iteration: int) -> None:
        self._leave(runner, _saver(runner).save_preempted(runner, epoch, iteration))

    def _leave(self, runner: Runner, path: str) -> None:
        name = 'another rank' if self._first is None else signal.Signals(self._first[0]).name
        message = f'stopped by {name}; go on with --resume, from {path}'
        runner.logger.warning(message)
        self.after_train(runner)
        raise Preempted(message)


def _start_workers(get_iterator: Callable[[], Iterator]) -> Iterator:
    """Start workers that inherit blocked signals: torch's own handler would end a new one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        return get_iterator()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(start: Callable[[int], None] | None, worker_id: int) -> None:
    """Start a worker that heeds only the SIGTERM of the training itself, which ends it so."""
    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    # macOS does not tell who sent a signal; there the worker ends.
    if not hasattr(signal, 'sigwaitinfo'):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_await_parent, args=(os.getppid(),), daemon=True).start()
    if start is not None:
        start(worker_id)


def _await_parent(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)


def _saver(runner: Runner) -> CheckpointHook | None:
    return next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
