"""What the kill tests do not reach: trainings that save nothing."""

import signal
from types import SimpleNamespace

from mman.engine.hooks import PreemptionHook


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
