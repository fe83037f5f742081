"""Numbers of a config whose range does not depend on who reads them."""

from collections.abc import Mapping
from numbers import Integral

from mman.utils.errors import UserError

# key -> the least integer that works; what is below would train nothing or fail in the midst.
_LEAST = {
    'max_epochs': 1,
    'max_iters': 1,
    'val_interval': 1,
    'val_begin': 0,
    'batch_size': 1,
    'num_workers': 0,
    'prefetch_factor': 1,
    'num_batch_per_epoch': 1,
    'window_size': 1,
    'accumulative_counts': 1,
    'base_batch_size': 1,
    'num_classes': 1,
    'begin': 0,
    'num_digits': 0,
    'resource_limit': 1,
    'opencv_num_threads': 0,
    'interval_exp_name': 1,
}
# More of any of these is a slip, and would fill the memory or never end.
_MOST = {
    'num_digits': 20,
    'num_workers': 1024,
    'opencv_num_threads': 1024,
    'resource_limit': 2**31 - 1,
}


def check_ranges(value: Mapping, where: str) -> None:
    """Refuse what is no integer, or one out of its range.

    Args:
        value (Mapping): Keys and values.
        where (str): Its path in the config.

    Raises:
        UserError: Names the key, its value and the range.
    """
    for key, number in value.items():
        if key not in _LEAST or number is None:
            continue
        least, most = _LEAST[key], _MOST.get(key)
        if not isinstance(number, Integral) or isinstance(number, bool) or number < least:
            raise UserError(f'{where}.{key}={number!r} should be an integer from {least} on')
        if most is not None and number > most:
            raise UserError(f'{where}.{key}={number!r} should be at most {most}')


def check_topk(metric: Mapping, where: str, model: Mapping) -> None:
    """Refuse a k of ``topk`` that is no rank, or beyond the classes of the model.

    Args:
        metric (Mapping): A metric or a head.
        where (str): Its path in the config.
        model (Mapping): The model, whose head says how many classes there are.

    Raises:
        UserError: Names topk, its value and the range.
    """
    topk = metric.get('topk', (1,))
    head = model.get('head')
    classes = head.get('num_classes') if isinstance(head, Mapping) else None
    ranks = topk if isinstance(topk, (tuple, list)) else (topk,)
    for k in ranks or (None,):
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise UserError(f'{where}.topk={topk!r} should have integers from 1 on')
        if isinstance(classes, int) and k > classes:
            raise UserError(
                f'{where}.topk has {k}, which is more than the {classes} classes of '
                'model.head.num_classes'
            )
