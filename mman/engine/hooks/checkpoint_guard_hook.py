from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mman.registry import HOOKS
from mman.utils.checkpoint_fit import fitting_weights
from mman.utils.unwrap import unwrap


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Refuse a checkpoint that does not fit the model exactly.

    The Runner itself loads what fits and skips the rest. This hook writes the
    split into ``meta.block_ends`` of every checkpoint, and stops the loading of
    one with another split, or with missing, unknown or misshapen entries.

    Args:
        allow_missing (Sequence[str]): Prefixes of entries that a checkpoint
            may lack, for instance ``('aux_heads.',)`` to start local training
            from a plain classifier's weights. Defaults to none.
    """

    # After hooks that put other weights, averaged ones for instance, in their place.
    priority = 'LOWEST'

    def __init__(self, allow_missing: Sequence[str] = ()):
        self.allow_missing = tuple(allow_missing)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Write the split into the checkpoint."""
        ends = getattr(unwrap(runner.model), 'block_ends', None)
        if ends is not None:
            checkpoint['meta']['block_ends'] = list(ends)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse a checkpoint that differs from the model, before anything is loaded."""
        fitting_weights(
            unwrap(runner.model),
            checkpoint,
            f'checkpoint {runner._load_from!r}',
            'Use the config it was trained with, or name what it may lack in '
            'CheckpointGuardHook.allow_missing',
            self.allow_missing,
        )
