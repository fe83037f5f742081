from .block_optim_wrapper import BlockOptimWrapper
from .block_optim_wrapper_dict import BlockOptimWrapperDict
from .constructor import BlockOptimWrapperConstructor

__all__ = ['BlockOptimWrapper', 'BlockOptimWrapperConstructor', 'BlockOptimWrapperDict']
