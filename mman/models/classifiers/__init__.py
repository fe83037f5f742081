from .local_block import LocalBlock
from .local_classifier import LocalImageClassifier

__all__ = ['LocalBlock', 'LocalImageClassifier']
