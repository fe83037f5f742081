from .local_block_splitter import LocalBlockSplitter
from .unit import Unit

__all__ = ['LocalBlockSplitter', 'Unit']
