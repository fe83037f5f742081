from .backward_step_optim_wrapper import BackwardStepOptimWrapper
from .block_amp_optim_wrapper import BlockAmpOptimWrapper
from .block_optim_wrapper import BlockOptimWrapper
from .block_optim_wrapper_dict import BlockOptimWrapperDict
from .constructor import BlockOptimWrapperConstructor
from .loss_scaling import JointLossScaler, SharedLossScaler

__all__ = [
    'BackwardStepOptimWrapper',
    'BlockAmpOptimWrapper',
    'BlockOptimWrapper',
    'BlockOptimWrapperConstructor',
    'BlockOptimWrapperDict',
    'JointLossScaler',
    'SharedLossScaler',
]
