"""Data sets and loaders: built before they are read, and refused where they give nothing."""

import copy
from collections.abc import Mapping
from typing import Any
from urllib.error import URLError

import numpy as np
from mmengine.dist import get_world_size
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from mman.utils.build_errors import named_errors, short
from mman.utils.errors import UserError
from mman.utils.signature import signature_of
from mman.utils.unwrap import unwrap

# Samples of a data set whose length is not known before it is read.
_SAMPLES = 1000
# (H, W, C) of a photo where the size of images is not known.
_PHOTO = (375, 500, 3)


class NotRead(AttributeError):
    """Somebody asked for what is not known before a data set is read."""


class Unread(Dataset):
    """A data set of which only the length is known, or not even that."""

    metainfo: dict = {}

    def __init__(self, length: int | None):
        self.length = length

    def __len__(self) -> int:
        return self.length or _SAMPLES

    def __getitem__(self, index: int) -> dict:
        raise NotRead(index)

    def __getattr__(self, name: str) -> Any:
        raise NotRead(name)


def lazy_dataset(cfg: Mapping, where: str) -> Dataset | None:
    """A data set that is not read; None if its class, or one inside, has no ``lazy_init``."""
    lazy = _lazy(cfg)
    if lazy is None:
        return None
    with named_errors(cfg, where):
        return DATASETS.build(lazy)


def _lazy(cfg: Any) -> dict | None:
    """The config with ``lazy_init`` wherever it belongs; None if there is a class without it."""
    if not isinstance(cfg, Mapping):
        return None
    with DATASETS.switch_scope_and_registry(cfg.get('_scope_')) as registry:
        cls = registry.get(cfg['type']) if isinstance(cfg['type'], str) else cfg['type']
    if cls is None or 'lazy_init' not in signature_of(cls).parameters:
        return None
    lazy = {**copy.deepcopy(dict(cfg)), 'lazy_init': True}
    for key in ('dataset', 'datasets'):
        if key in cfg:
            many = isinstance(cfg[key], (list, tuple))
            inner = [_lazy(one) for one in (cfg[key] if many else [cfg[key]])]
            if None in inner:
                return None
            lazy[key] = inner if many else inner[0]
    return lazy


def try_pipeline(dataset: Dataset, cfg: Mapping, where: str, input_shape: tuple | None) -> None:
    """Give the transforms one black image, where the data set knows the size of its images."""
    size = getattr(dataset, 'image_shape', None)
    if not size or not input_shape:
        return
    with named_errors(cfg.get('pipeline', []), f'{where}.pipeline'):
        image = np.zeros(size, dtype=np.uint8)
        result = dataset.pipeline(dict(img=image, gt_label=0, sample_idx=0))
    if not isinstance(result, Mapping) or 'inputs' not in result:
        raise UserError(
            f"{where}.pipeline should end with dict(type='PackInputs'), which makes a tensor of "
            f'the image, but is {cfg.get("pipeline")!r}'
        )
    found = tuple(result['inputs'].shape)
    if where.startswith('train_') and found != input_shape:
        raise UserError(
            f'model.input_shape={input_shape} differs from the images of {where}={short(cfg)}, '
            f'{found}'
        )


def warn_of_size(runner: Runner, test: Any, val: Any) -> None:
    """Say in the log if test images have another size than the model's or those of validation."""
    found = _final_shape(test)
    others = {
        'model.input_shape': getattr(unwrap(runner.model), 'input_shape', None),
        'those of val_dataloader': _final_shape(val),
    }
    for name, shape in others.items():
        if None not in (found, shape) and tuple(shape) != found:
            runner.logger.warning(
                f'test_dataloader gives images (C, H, W) of {found}, but {name} are '
                f'{tuple(shape)}: set the sizes in test_dataloader.dataset.pipeline too'
            )
            return


def _final_shape(dataset: Any) -> tuple[int, ...] | None:
    """(C, H, W) after the pipeline, tried on a black image; None if that does not tell."""
    if getattr(dataset, 'input_shape', None) is not None:
        return tuple(dataset.input_shape)
    size = getattr(dataset, 'image_shape', _PHOTO)
    result = dict(
        img=np.zeros(size, np.uint8), img_shape=size[:2], ori_shape=size[:2], gt_label=0,
        sample_idx=0,
    )  # fmt: skip
    try:
        for step in dataset.pipeline.transforms:
            if not type(step).__name__.startswith('Load'):
                result = step(result)
        return tuple(result['inputs'].shape)
    # Transforms of others may need anything.
    except Exception:
        return None


def read_data(runner: Runner, *splits: str) -> None:
    """Build the loops of a Runner that has not run, which reads their data sets.

    Of ``splits``, 'train', 'val' or 'test', those without a loop are left out.

    Raises:
        UserError: If a data set cannot be read, or gives no batch.
    """
    for split in splits:
        try:
            loop = getattr(runner, f'{split}_loop')
        except (URLError, ConnectionError, TimeoutError) as error:
            raise UserError(
                f'{split}_dataloader.dataset cannot be downloaded ({error}): put its files into '
                'its data_root'
            ) from error
        if loop is not None:
            check_batches(loop.dataloader, f'{split}_dataloader')


def check_batches(loader: DataLoader, where: str) -> None:
    """Refuse a loader over which training and measuring would do nothing."""
    try:
        count = len(loader)
    except TypeError:
        # It does not know.
        return
    if not count:
        raise UserError(
            f'{where} gives no batch: its data set has {len(loader.dataset)} samples (indices may '
            f'choose some), shared by {get_world_size()} processes, '
            f'{where}.batch_size={loader.batch_size!r} and {where}.drop_last={loader.drop_last!r}; '
            'take smaller batches, or keep the last one'
        )
