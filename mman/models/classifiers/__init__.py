from .early_exit import check_exits, exit_blocks, exit_logits
from .local_block import LocalBlock
from .local_classifier import LocalImageClassifier

__all__ = ['LocalBlock', 'LocalImageClassifier', 'check_exits', 'exit_blocks', 'exit_logits']
