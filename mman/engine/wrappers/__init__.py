from .local_distributed import LocalDistributedDataParallel

__all__ = ['LocalDistributedDataParallel']
