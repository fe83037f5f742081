from .local_distributed import LocalDistributedDataParallel
from .local_pipeline import LocalPipelineParallel

__all__ = ['LocalDistributedDataParallel', 'LocalPipelineParallel']
