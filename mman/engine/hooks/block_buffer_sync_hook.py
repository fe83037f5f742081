from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mman.registry import HOOKS


@HOOKS.register_module()
class BlockBufferSyncHook(Hook):
    """Average the running statistics of all ranks before they are used or saved.

    Each rank normalises its own part of the batch while it trains. Buffers are
    averaged before every validation, at the end of every epoch, and in the
    iterations after which a checkpoint is saved by iteration. Without several
    processes it does nothing.
    """

    # Before the checkpoint is written.
    priority = 'NORMAL'

    def __init__(self):
        self._trained_since = False

    def before_val(self, runner: Runner) -> None:
        """Average before validation."""
        self._sync(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Average before a checkpoint by epoch."""
        self._sync(runner)

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Average before a checkpoint by iteration."""
        self._trained_since = True
        if is_model_wrapper(runner.model) and any(
            self._saves_now(hook, runner) for hook in runner.hooks
        ):
            self._sync(runner)

    def _saves_now(self, hook: Hook, runner: Runner) -> bool:
        if not isinstance(hook, CheckpointHook) or hook.by_epoch:
            return False
        return self.every_n_train_iters(runner, hook.interval) or (
            hook.save_last and self.is_last_train_iter(runner)
        )

    def _sync(self, runner: Runner) -> None:
        if self._trained_since and is_model_wrapper(runner.model):
            runner.model.sync_buffers()
        self._trained_since = False
