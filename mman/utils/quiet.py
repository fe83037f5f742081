"""What a user can do nothing about, or finds in the log file, is kept from the console."""

import logging
import warnings

from .before_import import before_import

#: Starts of log messages that only the log file gets.
FILE_ONLY = (
    '\n' + '-' * 60 + '\nSystem environment:',
    'Config:\n',
    'Hooks will be executed in the following order:',
    'Distributed training is not used, all SyncBatchNorm',
    'Exp name: ',
    # MMEngine's own use of its older names.
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
)


def ignore_upstream_noise() -> None:
    """Ignore what other packages say of their optional parts when they are imported."""
    # mmcv without compiled operators, which nothing here uses.
    warnings.filterwarnings('ignore', 'Fail to import ``MultiScaleDeformableAttention``')
    before_import('mmpretrain.datasets', _drop_debug_prints)


def _drop_debug_prints() -> None:
    """Keep mmengine from printing, without a logger, what is for debugging: missing OneDL."""
    import mmengine.logging

    print_log = mmengine.logging.print_log

    def print_unless_debug(msg, logger=None, level=logging.INFO):
        if logger is not None or level > logging.DEBUG:
            print_log(msg, logger, level)

    mmengine.logging.print_log = print_unless_debug


def shorten_console(logger: logging.Logger) -> None:
    """Keep :data:`FILE_ONLY` from the console, and only from there."""
    for handler in logger.handlers:
        if type(handler) is logging.StreamHandler:
            handler.addFilter(lambda record: not record.getMessage().startswith(FILE_ONLY))
