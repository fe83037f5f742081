"""What is wrong in a config, found before data is read."""

from .config import check_amp, check_config, check_training, class_name
from .data import read_data
from .dry_run import dry_run
from .top_level import check_top_level

__all__ = [
    'check_amp',
    'check_config',
    'check_top_level',
    'check_training',
    'class_name',
    'dry_run',
    'read_data',
]
