"""The keys of a data loader's config."""

from collections.abc import Mapping
from typing import Any

from mmengine import registry as roots
from mmengine.dataset import InfiniteSampler
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop
from torch.utils.data import DataLoader

from mman.utils.errors import UserError

from .components import ConfigCheck, check_keys
from .ranges import check_ranges

# Built or read by the Runner, which hands the rest to torch.
_BUILT = ('dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn')
_READ = ('num_batch_per_epoch', 'disable_subprocess_warning')


def check_loader(loader: Mapping, where: str, check: ConfigCheck) -> None:
    """Check a data loader with its data set and samplers.

    Args:
        loader (Mapping): Its config.
        where (str): Its path in the config.
        check (ConfigCheck): With the default scope.

    Raises:
        UserError: Names the key.
    """
    check_keys(loader, where, DataLoader, extra=(*_BUILT, *_READ))
    check_ranges(loader, where)
    for key in ('dataset', 'sampler'):
        if key not in loader:
            raise UserError(f'{where} lacks {key}: a dict with the key type')
    if loader.get('batch_sampler') is None and loader.get('batch_size') is None:
        raise UserError(f'{where}.batch_size is missing: the images of a batch on each process')
    count = loader.get('num_batch_per_epoch')
    if count is not None and (not isinstance(count, int) or isinstance(count, bool)):
        raise UserError(f'{where}.num_batch_per_epoch={count!r} should be an integer from 1 on')
    check.component(loader['dataset'], f'{where}.dataset', roots.DATASETS)
    _check_indices(loader['dataset'], f'{where}.dataset')
    check.component(
        loader['sampler'], f'{where}.sampler', roots.DATA_SAMPLERS, given=('dataset', 'seed')
    )
    if loader.get('batch_sampler') is not None:
        check.component(
            loader['batch_sampler'],
            f'{where}.batch_sampler',
            roots.DATA_SAMPLERS,
            given=('sampler', 'batch_size'),
        )
    for key in ('collate_fn', 'worker_init_fn'):
        if key in loader and not callable(loader[key]):
            # What the loader itself gives comes first, by position.
            check.component(
                loader[key],
                f'{where}.{key}',
                roots.FUNCTIONS,
                given=('data_batch', 'batch', 'worker_id', 'num_workers', 'rank', 'seed'),
                scoped=False,
            )


def check_endless(loader: Mapping, where: str, loop: Any, check: ConfigCheck) -> None:
    """Refuse mmengine's InfiniteSampler where a loop waits for the end of the data.

    Args:
        loader (Mapping): A checked config.
        where (str): Its path in the config.
        loop (Any): The class of its loop.
        check (ConfigCheck): With the default scope.

    Raises:
        UserError: Names the sampler.
    """
    ends = isinstance(loop, type) and issubclass(loop, (EpochBasedTrainLoop, ValLoop, TestLoop))
    if not ends or not isinstance(loader['sampler'], Mapping):
        return
    kind = check.target(loader['sampler'], f'{where}.sampler', roots.DATA_SAMPLERS)
    if isinstance(kind, type) and issubclass(kind, InfiniteSampler):
        remedy = ', or train_cfg.by_epoch=False' if issubclass(loop, EpochBasedTrainLoop) else ''
        raise UserError(
            f'{where}.sampler.type={loader["sampler"]["type"]!r} never ends, and {loop.__name__} '
            f"waits for its end: take 'DefaultSampler'{remedy}"
        )


def _check_indices(dataset: Any, where: str) -> None:
    """Refuse data sets of no sample, those within others included."""
    if not isinstance(dataset, Mapping):
        return
    indices = dataset.get('indices')
    if indices is not None and not isinstance(indices, bool) and indices in (0, [], ()):
        raise UserError(f'{where}.indices={indices!r} leaves no sample: give a number above 0')
    _check_indices(dataset.get('dataset'), f'{where}.dataset')
