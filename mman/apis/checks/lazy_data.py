"""Data sets that are built and not read."""

import copy
from collections.abc import Mapping
from typing import Any

from mmengine.config import ConfigDict
from mmengine.registry import DATASETS

from mman.utils.build_errors import named_errors
from mman.utils.signature import signature_of


def lazy_dataset(cfg: Any, where: str) -> Any:
    """Build a data set without reading it, if its class and those inside it can (``lazy_init``).

    Args:
        cfg (Any): Its config.
        where (str): Its path in the config.

    Returns:
        Any: The data set, or None.

    Raises:
        UserError: If it cannot be built.
    """
    lazy = _lazy(cfg)
    if lazy is None:
        return None
    with named_errors(cfg, where):
        return DATASETS.build(lazy)


def _lazy(dataset: Any) -> dict | None:
    """The config with ``lazy_init`` wherever it belongs; None if there is a class without it."""
    if not isinstance(dataset, Mapping):
        return None
    with DATASETS.switch_scope_and_registry(dataset.get('_scope_')) as registry:
        cls = registry.get(dataset['type']) if isinstance(dataset['type'], str) else dataset['type']
    if cls is None or 'lazy_init' not in signature_of(cls).parameters:
        return None
    lazy = ConfigDict(copy.deepcopy(dict(dataset)), lazy_init=True)
    for key in ('dataset', 'datasets'):
        if isinstance(dataset.get(key), Mapping):
            lazy[key] = _lazy(dataset[key])
        elif isinstance(dataset.get(key), (list, tuple)):
            lazy[key] = [_lazy(one) for one in dataset[key]]
        inner = lazy.get(key, ())
        if inner is None or (isinstance(inner, list) and None in inner):
            return None
    return lazy
