"""Writing one view of a feature cache."""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.utils import ProgressBar
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mman.datasets.cached_features import (
    DTYPES,
    FEATURES,
    IMAGES,
    LABELS,
    CachedFeatures,
    write_index,
)
from mman.models.classifiers.prefix import prefix_output
from mman.utils.atomic_file import GrowingFile
from mman.utils.errors import UserError
from mman.utils.random_state import seeded

_WHERE = 'train_dataloader.dataset'


def content_digest(source: Dataset) -> str:
    """SHA-256, in hex, of what a data set holds: paths and labels, or images and labels.

    Of a data set that is none of mmengine's or in memory it is that of its length.
    """
    digest = hashlib.sha256(str(len(source)).encode())
    for name in ('data_bytes', 'images', 'labels'):
        held = getattr(source, name, None)
        if isinstance(held, np.ndarray | torch.Tensor):
            digest.update(np.ascontiguousarray(held))
    return digest.hexdigest()


def write_view(
    place: Path,
    view: int,
    source: Dataset,
    content: str,
    key: Mapping[str, Any],
    model: nn.Module,
    cfg: Config,
    earlier: CachedFeatures | None = None,
) -> None:
    """Write the features of one view of all images, with a progress bar.

    They are computed in batches of the size of training, the last one filled up,
    since kernels round differently at other sizes.

    Args:
        place (Path): The folder of the view.
        view (int): Its number.
        source (Dataset): The images.
        content (str): Their :func:`content_digest`.
        key (Mapping): What the features depend on.
        model (nn.Module): In train mode, with its weights.
        cfg (Config): With ``train_dataloader`` and ``optim_wrapper``.
        earlier (CachedFeatures | None): Of the same views after an earlier block, to go
            on from. Defaults to None, from the images.
    """
    dtype, count = key['dtype'], len(source)
    augments = copy.deepcopy(getattr(model.data_preprocessor, 'augments', ()))
    model.to(get_device())
    context = _context(model, cfg)
    names = [FEATURES, LABELS, *([IMAGES] if key['images'] else [])]
    if earlier is None:
        start, samples = 0, _View(source, augments, key['seed'], view)
    else:
        start, samples = earlier.index['key']['block'] + 1, _Earlier(earlier, view)
    bar = ProgressBar(count)
    with ExitStack() as stack:
        files = {name: GrowingFile(place / name) for name in names}
        for file in files.values():
            stack.callback(file.discard)
        workers = cfg.train_dataloader.get('num_workers', 0)
        for x, labels, *stored in DataLoader(samples, key['batch_size'], num_workers=workers):
            images = stored[0] if stored else x
            lacking = key['batch_size'] - len(x)
            filled = torch.cat([x, x[-1:].expand(lacking, *x.shape[1:])])
            features = prefix_output(model, filled, context, start)[: len(x)]
            computed_in = features.dtype
            files[FEATURES].write(_bytes(_stored(features, dtype, key['block'])))
            files[LABELS].write(_bytes(labels))
            if key['images']:
                _check_images(images, model.input_shape)
                files[IMAGES].write(_bytes(images))
            bar.update(len(x))
        sums = {name: dict(bytes=file.size, sha256=file.finish()) for name, file in files.items()}
    print(flush=True)
    write_index(
        place,
        dict(
            key=dict(key),
            view=view,
            content=content,
            count=count,
            classes=getattr(source, 'metainfo', {}).get('classes'),
            feature_shape=list(features.shape[1:]),
            image_shape=list(model.input_shape),
            dtype=dtype,
            computed_in=str(computed_in).removeprefix('torch.'),
            files=sums,
        ),
    )


class _View(Dataset):
    """One view of every image: pixels, augmented, and the label."""

    def __init__(self, source: Dataset, augments: Sequence[nn.Module], seed: int, view: int):
        self.source, self.augments = source, augments
        self.seed, self.view = seed, view

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with seeded(self.seed, self.view, index):
            sample = self.source[index]
            pixels, about = sample['inputs'], sample.get('data_samples')
            label = getattr(about, 'gt_label', None)
            if label is None or label.numel() != 1 or 'gt_score' in about:
                raise UserError(
                    f'{_WHERE}: sample {index} should have one label, gt_label, for feature_cache'
                )
            pixels = pixels[None]
            for augment in self.augments:
                pixels = augment(pixels)
        return pixels[0], int(label)


class _Earlier(Dataset):
    """One view of every image after an earlier block: features, label, the image if stored."""

    def __init__(self, cached: CachedFeatures, view: int):
        self.cached, self.view = cached, view

    def __len__(self) -> int:
        return len(self.cached)

    def __getitem__(self, index: int) -> tuple:
        sample = self.cached.sample(index, self.view)
        images = [sample['inputs']] if 'inputs' in sample else []
        return (sample['features'], int(sample['data_samples'].gt_label), *images)


def _context(model: nn.Module, cfg: Config) -> Callable[[nn.Module], AbstractContextManager]:
    """In what blocks that rest run in training: in the precision of the others."""
    wrappers = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    if not isinstance(wrappers, OptimWrapperDict):
        # Training itself says what is wrong with that.
        return lambda block: nullcontext()
    return wrappers[f'block{model.trained_blocks[-1]}'].optim_context


def _stored(features: torch.Tensor, dtype: str, block: int) -> torch.Tensor:
    stored = features.to(DTYPES[dtype])
    if not stored.isfinite().all():
        largest = features.abs().max().item()
        raise UserError(
            f'feature_cache.dtype={dtype!r} cannot hold what block {block} gives, values up to '
            f"{largest:g}: take 'bfloat16' or 'float32', or other weights if these are not finite"
        )
    return stored


def _check_images(images: torch.Tensor, input_shape: tuple[int, int, int]) -> None:
    if images.dtype != torch.uint8 or tuple(images.shape[1:]) != input_shape:
        raise UserError(
            f'{_WHERE} gives images of {images.dtype} {tuple(images.shape[1:])}: with a head that '
            f'needs images, feature_cache stores torch.uint8 {input_shape} only'
        )


def _bytes(values: torch.Tensor) -> memoryview:
    """The numbers of a tensor in order, as bytes."""
    return memoryview(values.contiguous().cpu().reshape(-1).view(torch.uint8).numpy())
