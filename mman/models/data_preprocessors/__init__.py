from .batch_augment import BatchAugmentDataPreprocessor
from .batch_transforms import BatchRandomCrop, BatchRandomFlip, BatchTransform, draw_per_rank

__all__ = [
    'BatchAugmentDataPreprocessor',
    'BatchRandomCrop',
    'BatchRandomFlip',
    'BatchTransform',
    'draw_per_rank',
]
