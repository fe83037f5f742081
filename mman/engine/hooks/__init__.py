from .block_log_hook import BlockLogHook
from .checkpoint_guard_hook import CheckpointGuardHook
from .momentum_update_hook import MomentumUpdateHook

__all__ = ['BlockLogHook', 'CheckpointGuardHook', 'MomentumUpdateHook']
