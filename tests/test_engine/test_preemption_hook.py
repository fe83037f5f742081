"""What the kill tests do not reach: trainings that save nothing, and the start of workers."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

from mman.engine.hooks import CheckpointHook, PreemptionHook


def test_without_a_hook_that_saves_signals_are_left_alone():
    warnings = []
    runner = SimpleNamespace(hooks=[], logger=SimpleNamespace(warning=warnings.append))
    before = signal.getsignal(signal.SIGTERM)
    hook = PreemptionHook()
    hook.before_train(runner)
    assert signal.getsignal(signal.SIGTERM) is before
    assert len(warnings) == 1 and 'end the training at once' in warnings[0]
    hook.after_train_iter(runner, 0)
    hook.after_train_epoch(runner)
    hook.after_train(runner)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def signalled_worker(monkeypatch):
    """A loader whose worker gets a signal between torch's handlers and ours."""

    def make(name):
        parent, start = os.getpid(), torch.set_num_threads

        # The first thing that a worker does after torch has set its handlers.
        def set_num_threads(number):
            if os.getpid() != parent:
                os.kill(os.getpid(), getattr(signal, name))
            start(number)

        monkeypatch.setattr(torch, 'set_num_threads', set_num_threads)
        return DataLoader(range(4), num_workers=1, multiprocessing_context='fork')

    return make


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGUSR1'])
def test_a_worker_that_is_just_starting_survives_a_signal(signalled_worker, name):
    loader = signalled_worker(name)
    hooks, loop = [CheckpointHook(interval=1)], SimpleNamespace(dataloader=loader)
    hook, mask = PreemptionHook(), signal.pthread_sigmask(signal.SIG_BLOCK, [])
    hook.before_train(SimpleNamespace(hooks=hooks, train_loop=loop, val_loop=None))
    try:
        assert torch.cat(list(loader)).tolist() == [0, 1, 2, 3]
    finally:
        hook.after_train(None)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask


def test_without_the_hook_the_signal_ends_it(signalled_worker):
    with pytest.raises(RuntimeError, match='exited unexpectedly'):
        list(signalled_worker('SIGTERM'))
