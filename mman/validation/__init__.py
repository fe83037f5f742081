"""What is wrong in a config, found before data is read."""

from .config import check_amp, check_config, check_training, class_name
from .data import lazy_dataset, read_data, warn_of_size
from .dry_run import dry_run
from .top_level import check_load_from, check_top_level, unread_keys

__all__ = [
    'check_amp',
    'check_config',
    'check_load_from',
    'check_top_level',
    'check_training',
    'class_name',
    'dry_run',
    'lazy_dataset',
    'read_data',
    'unread_keys',
    'warn_of_size',
]
