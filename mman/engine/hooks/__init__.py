from .block_buffer_sync_hook import BlockBufferSyncHook
from .block_log_hook import BlockLogHook
from .checkpoint_guard_hook import CheckpointGuardHook
from .class_count_hook import ClassCountHook
from .momentum_update_hook import MomentumUpdateHook

__all__ = ['BlockBufferSyncHook', 'BlockLogHook', 'CheckpointGuardHook', 'MomentumUpdateHook']
