from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mman.registry import HOOKS
from mman.utils import UserError
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
        """Compare the checkpoint with the model before anything is loaded.

        Raises:
            UserError: If they differ; names the split or the entries.
        """
        model, name = unwrap(runner.model), f'checkpoint {runner._load_from!r}'
        saved = checkpoint.get('meta', {}).get('block_ends')
        ends = getattr(model, 'block_ends', None)
        if saved is not None and ends is not None and list(saved) != list(ends):
            raise UserError(
                f'{name} has {len(saved)} local blocks ending at {_short(saved)}, the config '
                f'{len(ends)} ending at {_short(ends)}: use the config it was trained with'
            )
        loaded = {
            key.removeprefix('module.'): value
            for key, value in checkpoint.get('state_dict', checkpoint).items()
        }
        own = model.state_dict()
        problems = {
            'lacks': [
                key for key in own if key not in loaded and not key.startswith(self.allow_missing)
            ],
            'has unknown': [key for key in loaded if key not in own],
            'has misshapen': [
                key for key in own if key in loaded and own[key].shape != loaded[key].shape
            ],
        }
        found = [f'{what} {_short(keys)}' for what, keys in problems.items() if keys]
        if found:
            raise UserError(
                f'{name} does not fit the model: it {"; it ".join(found)}. Use the config it was '
                'trained with, or name what it may lack in CheckpointGuardHook.allow_missing'
            )


def _short(names: Sequence[str]) -> str:
    """The first few names and how many more there are."""
    shown = ', '.join(map(str, names[:4]))
    return shown if len(names) <= 4 else f'{shown} and {len(names) - 4} more'
