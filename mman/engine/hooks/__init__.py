from .block_buffer_sync_hook import BlockBufferSyncHook
from .block_log_hook import BlockLogHook
from .checkpoint_guard_hook import CheckpointGuardHook
from .checkpoint_hook import CheckpointHook
from .class_count_hook import ClassCountHook
from .cyclic_blocks_hook import CyclicBlocksHook
from .finite_guard_hook import FiniteGuardHook
from .momentum_update_hook import MomentumUpdateHook
from .pipeline_hook import PipelineHook
from .preemption_hook import PreemptionHook
from .reproduce_hook import ReproduceHook
from .resume_state_hook import ResumeStateHook

__all__ = [
    'BlockBufferSyncHook',
    'BlockLogHook',
    'CheckpointGuardHook',
    'CheckpointHook',
    'ClassCountHook',
    'CyclicBlocksHook',
    'FiniteGuardHook',
    'MomentumUpdateHook',
    'PipelineHook',
    'PreemptionHook',
    'ReproduceHook',
    'ResumeStateHook',
]
