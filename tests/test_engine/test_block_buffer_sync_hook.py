from types import SimpleNamespace

import pytest
from mmengine.hooks import CheckpointHook
from torch import nn

from mman.engine.hooks import BlockBufferSyncHook
from mman.engine.wrappers import LocalDistributedDataParallel


class _Wrapped(LocalDistributedDataParallel):
    """Counts instead of averaging."""

    def __init__(self):
        nn.Module.__init__(self)
        self.calls = 0

    def sync_buffers(self):
        self.calls += 1


def _runner(*hooks, iteration=0):
    return SimpleNamespace(model=_Wrapped(), hooks=hooks, iter=iteration, max_iters=10)


def test_once_before_each_use_and_only_after_training():
    hook, runner = BlockBufferSyncHook(), _runner()
    hook.before_val(runner)
    assert runner.model.calls == 0
    hook.after_train_iter(runner)
    assert runner.model.calls == 0
    hook.after_train_epoch(runner)
    hook.before_val(runner)
    assert runner.model.calls == 1
    hook.after_train_iter(runner)
    hook.before_val(runner)
    assert runner.model.calls == 2


@pytest.mark.parametrize(
    ('by_epoch', 'iteration', 'calls'), [(False, 3, 1), (False, 4, 0), (False, 9, 1), (True, 3, 0)]
)
def test_before_a_checkpoint_by_iteration(by_epoch, iteration, calls):
    hook = BlockBufferSyncHook()
    saver = CheckpointHook(interval=4, by_epoch=by_epoch)
    runner = _runner(saver, iteration=iteration)
    hook.after_train_iter(runner)
    assert runner.model.calls == calls


def test_one_process_has_nothing_to_average():
    hook = BlockBufferSyncHook()
    runner = SimpleNamespace(model=nn.Linear(1, 1), hooks=())
    hook.after_train_iter(runner)
    hook.after_train_epoch(runner)
