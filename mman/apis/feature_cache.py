"""Training on what the resting blocks before the first trained one gave, written to disk once."""

import copy
import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmpretrain.models import ClsDataPreprocessor
from torch import nn
from torch.utils.data import Dataset

from mman.datasets.cached_features import (
    DTYPES,
    CachedFeatures,
    checked_views,
    read_index,
    view_folder,
)
from mman.models import BatchAugmentDataPreprocessor
from mman.models.classifiers.prefix import prefix_digest
from mman.utils import UserError, dict_at, one_of
from mman.utils.atomic_file import remove_leftovers
from mman.utils.random_state import unchanged_random_state
from mman.utils.unwrap import unwrap
from mman.validation import class_name, lazy_dataset
from mman.validation.data import try_pipeline
from mman.validation.values import check_call

from .feature_writer import content_digest, write_view
from .memory_prediction import GIB
from .models import build_local_model, load_weights
from .places import locked, try_place, write_errors
from .pretrained import read_pretrained

_WHERE = 'train_dataloader.dataset'
_LABEL_BYTES = 8


def apply_feature_cache(cfg: Config) -> None:
    """Do what the config's ``feature_cache`` asks, if it has one.

    The key is a dict of the arguments of :func:`use_feature_cache` but the config.

    Raises:
        UserError: As :func:`use_feature_cache`, and if a key is unknown.
    """
    wanted = cfg.get('feature_cache')
    if wanted is None:
        return
    check_call(dict_at('feature_cache', wanted), 'feature_cache', use_feature_cache, ('cfg',))
    use_feature_cache(cfg, **wanted)
    # The config in the work dir has the data set of features instead.
    cfg.feature_cache = None


def use_feature_cache(
    cfg: Config, folder: str | Path | None = None, views: int = 1, dtype: str = 'float32'
) -> None:
    """Let a config train on cached features of its images in place of the images.

    What the blocks before the first of ``model.train_blocks`` give of every
    training image is looked for in ``folder`` and written there if it is not
    found; then ``train_dataloader.dataset`` becomes a
    :class:`mman.datasets.CachedFeatures`. A view of an image is what the
    pipeline and the augmentation make of it with random numbers that depend on
    the seed, the view and the place of the image alone.

    Args:
        cfg (Config): One to train from, with ``work_dir`` where ``folder`` is
            None. Changed in place.
        folder (str | Path | None): For caches, each in a folder of its own name.
            Defaults to None, ``feature_cache`` in the work dir.
        views (int): Views of every image. Defaults to 1.
        dtype (str): How features are stored: 'float32', 'float16' or
            'bfloat16'. Defaults to 'float32'.

    Raises:
        UserError: If the blocks before do not rest in eval mode, their weights
            are not given, images are mixed, values do not fit ``dtype``, or the
            disk has no room; names the key.
    """
    checked_views(views, 'feature_cache.views')
    one_of('feature_cache.dtype', dtype, DTYPES)
    _check_config(cfg)
    with unchanged_random_state():
        model = build_local_model(cfg)
        _check_model(model)
        _load_prefix(model, cfg)
        key = _key(cfg, model, dtype)
        place = Path(folder or Path(cfg.work_dir) / 'feature_cache') / _name(key)
        with write_errors(place):
            _complete(place, views, key, model, cfg)
    loader = cfg.train_dataloader
    loader.dataset = ConfigDict(type='CachedFeatures', folder=str(place), views=views)
    loader.collate_fn = ConfigDict(type='default_collate')


def cache_bytes(
    feature_shape: Sequence[int],
    count: int,
    views: int = 1,
    dtype: str = 'float32',
    image_shape: Sequence[int] | None = None,
) -> int:
    """Bytes of a cache on disk, its labels included and its indexes not.

    Args:
        feature_shape (Sequence[int]): Shape of the features of one image.
        count (int): Images.
        views (int): Views of every image. Defaults to 1.
        dtype (str): As for :func:`use_feature_cache`. Defaults to 'float32'.
        image_shape (Sequence[int] | None): (C, H, W) of the images, where a head
            needs them. Defaults to None, not stored.
    """
    image = 0 if image_shape is None else math.prod(image_shape)
    feature = math.prod(feature_shape) * DTYPES[dtype].itemsize
    return views * count * (feature + image + _LABEL_BYTES)


def guard_prefix(runner: Runner) -> None:
    """Refuse to train on features of other weights than the model has when training starts."""
    dataset = (runner.cfg.get('train_dataloader') or {}).get('dataset') or {}
    if class_name(dataset.get('type')) == 'CachedFeatures':
        # After all that loads or changes weights.
        runner.register_hook(PrefixGuardHook(), priority='LOWEST')


class PrefixGuardHook(Hook):
    """Compare the weights of the model with those that the cached features are of."""

    def before_train(self, runner: Runner) -> None:
        """Refuse other weights."""
        dataset = runner.train_loop.dataloader.dataset
        if prefix_digest(unwrap(runner.model)) != dataset.prefix:
            raise UserError(
                f'{_WHERE}.folder={str(dataset.folder)!r} has features of other weights than the '
                'resting blocks have: give the load_from and model.train_blocks that it was '
                'written with, or the data set of images'
            )


def _check_config(cfg: Config) -> None:
    """What can be seen before the model is built."""
    if cfg.get('launcher', 'none') != 'none':
        raise UserError(
            f'feature_cache is for one process: leave it out with launcher={cfg.launcher!r}'
        )
    loader = cfg.get('train_dataloader') or {}
    if 'batch_size' not in loader or 'dataset' not in loader:
        raise UserError('feature_cache needs train_dataloader with batch_size and dataset')
    if cfg.get('optim_wrapper') is None:
        raise UserError('feature_cache needs optim_wrapper, which has the precision')
    if class_name(loader.dataset.get('type')) == 'CachedFeatures':
        raise UserError(f'{_WHERE} is CachedFeatures already: leave out feature_cache')


def _check_model(model: nn.Module) -> None:
    """What the blocks and the preprocessor do must not depend on the batch."""
    if model.trained_blocks[0] == 0:
        raise UserError(
            f'model.train_blocks={list(model.trained_blocks)} should start above 0 with '
            'feature_cache: no block rests before the first that trains'
        )
    if model.resting_mode != 'eval':
        raise UserError(
            f"model.resting_mode={model.resting_mode!r} should be 'eval' with feature_cache: in "
            'train mode features depend on the batch'
        )
    preprocessor = model.data_preprocessor
    if type(preprocessor) not in (ClsDataPreprocessor, BatchAugmentDataPreprocessor):
        raise UserError(
            f'data_preprocessor.type={type(preprocessor).__name__!r} should be '
            "'ClsDataPreprocessor' or 'BatchAugmentDataPreprocessor' with feature_cache"
        )
    if preprocessor.batch_augments is not None:
        raise UserError(
            'data_preprocessor.batch_augments mixes images of a batch: leave it out, or '
            'feature_cache'
        )


def _load_prefix(model: nn.Module, cfg: Config) -> None:
    """Load the weights that the training will start from."""
    if cfg.get('load_from') is not None:
        load_weights(model, cfg.load_from)
    elif cfg.get('pretrained') is not None:
        weights, _ = read_pretrained(model, **cfg.pretrained)
        model.load_state_dict(weights, strict=False)
    else:
        raise UserError(
            'feature_cache needs load_from, the checkpoint with the weights of the blocks that '
            f'rest before block {model.trained_blocks[0]}'
        )


def _key(cfg: Config, model: nn.Module, dtype: str) -> dict[str, Any]:
    """All that the features depend on, bit for bit."""
    tree, first = cfg.to_dict(), model.trained_blocks[0]
    wrapper = tree.get('optim_wrapper') or {}
    key = dict(
        block=first - 1,
        ends=model.block_ends[:first],
        weights=prefix_digest(model),
        model={name: tree['model'].get(name) for name in ('backbone', 'memory_format', 'compile')},
        precision=[wrapper.get('type'), wrapper.get('dtype')],
        device=get_device(),
        batch_size=tree['train_dataloader']['batch_size'],
        input_shape=model.input_shape,
        dataset=tree['train_dataloader']['dataset'],
        data_preprocessor=tree['model'].get('data_preprocessor') or tree.get('data_preprocessor'),
        seed=(tree.get('randomness') or {}).get('seed') or 0,
        dtype=dtype,
        images=model.need_images(model.trained_blocks),
    )
    return json.loads(json.dumps(key, default=str))


def _name(key: Mapping) -> str:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return f'block{key["block"]}-{digest[:16]}'


def _complete(place: Path, views: int, key: dict, model: nn.Module, cfg: Config) -> None:
    """Write what is missing of a cache, and see that it is of the images that there are now."""
    dataset = cfg.train_dataloader.dataset
    missing = [view for view in range(views) if read_index(view_folder(place, view)) is None]
    shape = model.block_units[key['block']][-1].final_shape
    images = model.input_shape if key['images'] else None
    if missing:
        unread = lazy_dataset(dataset, _WHERE)
        if unread is not None:
            try_pipeline(unread, dataset, _WHERE, model.input_shape)
            count = unread.known_length() if hasattr(unread, 'known_length') else None
            if count is not None:
                # Before any image is read.
                _require_room(place, cache_bytes(shape, count, len(missing), key['dtype'], images))
    source = DATASETS.build(copy.deepcopy(dataset))
    content = content_digest(source)
    if missing:
        try_place(place, 'feature_cache.folder')
        with locked(place, f'feature_cache.folder={str(place.parent)!r}'):
            for view in range(views):
                view_folder(place, view).mkdir(exist_ok=True)
                remove_leftovers(view_folder(place, view))
            needed = cache_bytes(shape, len(source), len(missing), key['dtype'], images)
            print(
                f'feature cache: writing {_size(needed)}, {len(missing)} view(s) of '
                f'{len(source):,} images after block {key["block"]}, to {place}',
                flush=True,
            )
            _require_room(place, needed)
            for view in missing:
                earlier = _earlier(place.parent, key, view, content, model)
                folder = view_folder(place, view)
                write_view(folder, view, source, content, key, model, cfg, earlier)
    for view in set(range(views)) - set(missing):
        _require_same(view_folder(place, view), content, source)
    if not missing:
        print(f'feature cache: found in {place}', flush=True)


def _earlier(
    folder: Path, key: Mapping, view: int, content: str, model: nn.Module
) -> CachedFeatures | None:
    """A cache of the same views after the last block before that has one, to the last bit."""
    for block in range(key['block'] - 1, -1, -1):
        other = dict(
            key,
            block=block,
            ends=model.block_ends[: block + 1],
            weights=prefix_digest(model, block + 1),
        )
        for images in {key['images'], True}:
            place = folder / _name(dict(other, images=images))
            index = read_index(view_folder(place, view))
            whole = index is not None and index['dtype'] == index['computed_in']
            if whole and index['content'] == content:
                return CachedFeatures(str(place), view + 1)
    return None


def _require_same(place: Path, content: str, source: Dataset) -> None:
    index = read_index(place)
    if index['content'] != content or index['count'] != len(source):
        raise UserError(
            f'feature cache {str(place)!r} is of other images than {_WHERE} has now: delete it, '
            'and feature_cache writes it anew'
        )


def _require_room(place: Path, needed: int) -> None:
    """Refuse what does not fit the disk."""
    there = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise UserError(
            f'feature_cache needs {_size(needed)} in {str(place.parent)!r}, which has '
            f'{_size(free)} free: give another folder, fewer views, another dtype or a later block'
        )


def _size(count: int) -> str:
    if count < GIB:
        return f'{count / 2**20:.3g} MiB'
    return f'{count / GIB:.3g} GiB' if count < 1000 * GIB else f'{count / 1e12:.3g} TB'
