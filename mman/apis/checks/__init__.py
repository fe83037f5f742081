"""What is wrong in a config, found before data is read."""

from .batches import read_data
from .components import ConfigCheck
from .runner import check_config, check_training
from .top_level import check_top_level
from .trial_batch import check_momentum, try_preprocessor
from .trial_build import try_parts

__all__ = [
    'ConfigCheck',
    'check_config',
    'check_momentum',
    'check_top_level',
    'check_training',
    'read_data',
    'try_parts',
    'try_preprocessor',
]
