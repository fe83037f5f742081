"""A data set of small images held as one tensor, and read a batch at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.registry import FUNCTIONS
from mmpretrain.datasets.transforms import PackInputs
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from mman.registry import DATASETS
from mman.utils import UserError


@DATASETS.register_module()
class InMemoryDataset(Dataset):
    """All images of a data set in one uint8 tensor, all labels in another.

    The data loader takes whole batches from it, with ``collate_fn=dict(type='in_memory_collate')``,
    for a :class:`mman.models.BatchAugmentDataPreprocessor` to augment on the device. The pixels and
    the order of their channels are those that ``PackInputs`` gives. The wrapped data set is dropped
    once it was read. Worker processes share the tensors; each process of a distributed run holds
    its own.

    Args:
        dataset (dict | BaseDataset): A data set whose samples hold ``img``, uint8 of one shape (H,
            W, C) or (H, W), and ``gt_label``, one int. It must have no pipeline. ``indices`` and
            other keys that choose samples belong here.
        max_gib (float): Most memory for the images, in GiB; a larger data set
            is refused. Defaults to 4.
        pool (int): Side of the squares of pixels that become one, their
            rounded mean; it divides H and W. Defaults to 1.
        lazy_init (bool): Whether to read only when first needed. Defaults to False.

    Raises:
        UserError: If a key is unknown or wrong, the data set is of another
            kind, has a pipeline or needs more memory, or a sample does not fit.
    """

    def __init__(
        self,
        dataset: dict | BaseDataset,
        max_gib: float = 4,
        pool: int = 1,
        lazy_init: bool = False,
        **unknown: Any,
    ):
        for key, value in unknown.items():
            raise UserError(
                f'InMemoryDataset: {key}={value!r} must stand in the config of the data set that '
                f'it wraps, as dataset.dataset.{key} of the dataloader; it knows itself only '
                'dataset, max_gib, pool and lazy_init.'
            )
        if not isinstance(max_gib, int | float) or isinstance(max_gib, bool) or max_gib <= 0:
            raise UserError(f'InMemoryDataset: max_gib={max_gib!r} must be a number above 0.')
        if type(pool) is not int or pool < 1:
            raise UserError(f'InMemoryDataset: pool={pool!r} must be an integer from 1 on.')
        self._source = _source(dataset)
        self._metainfo = self._source.metainfo
        self.max_gib, self.pool = max_gib, pool
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict:
        """dict: That of the wrapped data set, with ``classes``."""
        return dict(self._metainfo)

    @property
    def CLASSES(self) -> Sequence[str] | None:
        """Sequence[str] | None: Names of the classes, as mmpretrain's data sets have them."""
        return self._metainfo.get('classes')

    @property
    def input_shape(self) -> tuple[int, int, int] | None:
        """tuple[int, int, int] | None: (C, H, W) of an image; None if only reading shows it."""
        if self._fully_initialized:
            return tuple(self.images.shape[1:])
        shape = getattr(self._source, 'image_shape', None)
        return None if shape is None else (shape[2], *(side // self.pool for side in shape[:2]))

    def known_length(self) -> int | None:
        """Samples that there will be, where the wrapped data set knows before it is read."""
        known = getattr(self._source, 'known_length', None)
        return None if known is None else known()

    def full_init(self) -> None:
        """Read all samples; nothing if that was done."""
        if self._fully_initialized:
            return
        self._source.full_init()
        self.images, self.labels = _read(self._source, self.max_gib, self.pool)
        self._source = None
        self._fully_initialized = True

    @force_full_init
    def __len__(self) -> int:
        return len(self.labels)

    @force_full_init
    def __getitem__(self, index: int) -> dict:
        """One sample as a pipeline of ``PackInputs`` alone gives it.

        Returns:
            dict: ``inputs``, uint8 (C, H, W), a view; and ``data_samples``, a
            DataSample with ``gt_label``.
        """
        label = self.labels[index].view(1)
        return dict(inputs=self.images[index], data_samples=DataSample().set_gt_label(label))

    @force_full_init
    def __getitems__(self, indices: Sequence[int]) -> list[dict]:
        """One batch of N samples, which torch's DataLoader asks for in their place.

        Returns:
            list[dict]: One dict: ``inputs``, uint8 (N, C, H, W), and ``gt_label``, int64 (N, ).
        """
        # A list, so that a wrong collate function leads to a wrong shape, which
        # the data preprocessor explains.
        index = torch.as_tensor(indices)
        # Many times as fast as images[index].
        images, labels = (t.index_select(0, index) for t in (self.images, self.labels))
        return [dict(inputs=images, gt_label=labels)]


@FUNCTIONS.register_module()
def in_memory_collate(batch: Sequence[dict]) -> dict:
    """Pass on the one member of what ``InMemoryDataset.__getitems__`` returns.

    Registered in mmengine's own registry, the only one that a Runner looks collate functions up in.

    Raises:
        UserError: If the batch comes from another data set.
    """
    if len(batch) == 1 and isinstance(batch[0], Mapping) and 'gt_label' in batch[0]:
        return batch[0]
    raise UserError(
        "collate_fn.type='in_memory_collate' got single samples: the dataset of the dataloader "
        "must be an InMemoryDataset itself; for any other take 'default_collate'"
    )


def _source(dataset: dict | BaseDataset) -> BaseDataset:
    """The data set to be read, built if need be."""
    if isinstance(dataset, Mapping):
        dataset = DATASETS.build(dataset)
    name = type(dataset).__name__
    if not isinstance(dataset, BaseDataset):
        raise UserError(
            f'InMemoryDataset: dataset.type={name!r} must be a BaseDataset of mmengine, not a '
            'wrapper of data sets or anything else.'
        )
    if dataset.pipeline.transforms:
        steps = ', '.join(type(step).__name__ for step in dataset.pipeline.transforms)
        raise UserError(
            f'InMemoryDataset: dataset.pipeline=[{steps}] must be empty: images are held as they '
            'are, and augmented by data_preprocessor.augments.'
        )
    return dataset


def _read(dataset: BaseDataset, max_gib: float, pool: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images, uint8 (N, C, H, W), and labels, int64 (N, )."""
    name, count = type(dataset).__name__, len(dataset)
    if not count:
        raise UserError(f'InMemoryDataset: {name} must hold at least one sample, but has none.')
    shape = _sample(dataset, 0)[0].shape
    if shape[1] % pool or shape[2] % pool:
        raise UserError(
            f'InMemoryDataset: pool={pool} must divide the sides of the images of {name}, '
            f'{shape[1]} x {shape[2]}.'
        )
    pooled = torch.Size((shape[0], shape[1] // pool, shape[2] // pool))
    needed = count * pooled.numel() / 2**30
    if needed > max_gib:
        raise UserError(
            f'InMemoryDataset: max_gib={max_gib!r} must be at least {needed:.3g} for the {count:,} '
            f'images of {name}, {" x ".join(map(str, pooled))} each. Raise it if the machine has '
            'that memory for every process, or use a per-image pipeline.'
        )
    images = torch.empty((count, *pooled), dtype=torch.uint8)
    labels = torch.empty(count, dtype=torch.int64)
    for i in range(count):
        image, labels[i] = _sample(dataset, i)
        if image.shape != shape:
            raise UserError(
                f'InMemoryDataset: the image {i} of {name} has the (C, H, W) {tuple(image.shape)}, '
                f'but the image 0 {tuple(shape)}; all must have one shape. Use a per-image '
                'pipeline that resizes them.'
            )
        images[i] = F.avg_pool2d(image.float(), pool).round() if pool > 1 else image
    return images, labels


def _sample(dataset: BaseDataset, index: int) -> tuple[torch.Tensor, int]:
    """One image, uint8 (C, H, W), and its label."""
    info = dataset.get_data_info(index)
    where = f'InMemoryDataset: the sample {index} of {type(dataset).__name__}'
    image, label = info.get('img'), info.get('gt_label')
    if getattr(image, 'dtype', None) != np.uint8 or image.ndim not in (2, 3):
        found = f'{image.dtype} {image.shape}' if isinstance(image, np.ndarray) else repr(image)
        raise UserError(
            f'{where} has img={found}; it must be an array of uint8, (H, W, C) or (H, W). Images '
            'that a pipeline loads from files need a per-image pipeline.'
        )
    if not isinstance(label, int | np.integer):
        raise UserError(f'{where} has gt_label={label!r}; it must be one whole number.')
    return PackInputs.format_input(image), int(label)
