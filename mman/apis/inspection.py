"""What tools share that look inside a trained model: the model, its data, outputs of blocks."""

import copy
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn
from torch.utils.data import DataLoader, Subset

from mman.engine.hooks import CheckpointGuardHook
from mman.models.aux_heads.base import pooled_tokens
from mman.models.splitters import Unit
from mman.registry import DATASETS, MODELS, register_all_modules
from mman.utils.errors import UserError
from mman.utils.safe_loading import restrict_loading

from .config import set_loader_defaults
from .memory_budget import apply_memory_budget

# Published models are without what training alone uses.
TRAINING_ONLY = ('aux_heads.',)


def built_model(cfg: Config) -> nn.Module:
    """The classifier of ``cfg`` as the Runner builds it, in eval mode.

    Raises:
        UserError: If the config has none, or it cannot be built.
    """
    if cfg.get('model') is None:
        raise UserError(f'config {cfg.filename!r} has no model')
    register_all_modules()
    restrict_loading()
    apply_memory_budget(cfg)
    model = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    try:
        return MODELS.build(model).eval()
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = ' '.join(str(error.args[0] if error.args else error).split())
        raise UserError(
            f'the model of config {cfg.filename!r} cannot be built: {reason}'
        ) from error


def local_model(cfg: Config) -> nn.Module:
    """:func:`built_model`, which must be a LocalImageClassifier.

    Raises:
        UserError: If the config has none, or it cannot be built.
    """
    if (cfg.get('model') or {}).get('splitter') is None:
        raise UserError(
            f'config {cfg.filename!r} has no model.splitter: only a LocalImageClassifier is cut '
            'into local blocks'
        )
    return built_model(cfg)


def load_weights(
    model: nn.Module,
    checkpoint: str,
    device: str,
    allow_missing: tuple[str, ...] = TRAINING_ONLY,
    unsafe: bool = False,
) -> nn.Module:
    """Load a checkpoint that fits into a LocalImageClassifier, and move it to a device.

    Args:
        model (nn.Module): The model.
        checkpoint (str): File, or another place that mmengine loads from.
        device (str): Where the model is to run.
        allow_missing (tuple[str]): Prefixes of entries that it may lack.
            Defaults to those of aux heads.
        unsafe (bool): Whether a checkpoint may run code. Defaults to False.

    Returns:
        nn.Module: The model, in eval mode.

    Raises:
        UserError: If the file is refused, or is of another model or split.
    """
    restrict_loading(unsafe)
    loaded = _read_checkpoint(checkpoint)
    # Of its runner the hook asks the model and the name of the checkpoint only.
    runner = SimpleNamespace(model=model, _load_from=checkpoint)
    CheckpointGuardHook(allow_missing).after_load_checkpoint(runner, loaded)
    state = loaded.get('state_dict', loaded)
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    model.load_state_dict(state, strict=False)
    return model.to(device).eval()


def _read_checkpoint(checkpoint: str) -> dict:
    """What a checkpoint file holds, on the CPU."""
    # Unpickling raises errors of any type on a file that is no checkpoint.
    try:
        loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu', logger='silent')
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f'checkpoint {checkpoint!r} cannot be read ({type(error).__name__}: {error}); it '
            'should be a complete file written by torch.save'
        ) from error
    if not isinstance(loaded, dict):
        raise UserError(f'checkpoint {checkpoint!r} holds no dict, but a {type(loaded).__name__}')
    return loaded


def checked_block(model: nn.Module, index: int) -> int:
    """The index, if the model has such a block.

    Raises:
        UserError: If it has not.
    """
    if not 0 <= index < model.num_blocks:
        raise UserError(
            f'block {index} does not exist: the model has the blocks 0 to {model.num_blocks - 1}'
        )
    return index


def block_outputs(model: nn.Module, inputs: torch.Tensor) -> Iterator[torch.Tensor]:
    """The output of every block in turn, in the mode the model is in.

    Args:
        model (nn.Module): A LocalImageClassifier.
        inputs (Tensor): Normalised images, (N, C, H, W).

    Yields:
        Tensor: Maps (N, C, H, W), tokens (N, L, C), or what the backbone
        returns (N, C), of blocks 0 to K - 1.
    """
    x = inputs.contiguous(memory_format=model.memory_format)
    for block in model.local_blocks:
        # Not around the yield: it would turn off the caller's gradients too.
        with torch.no_grad():
            for layer in block.layers:
                x = layer(x)
        yield x


def outputs_by_block(
    model: nn.Module, batches: Sequence[torch.Tensor]
) -> Iterator[list[torch.Tensor]]:
    """The outputs of every block in turn for all batches; those of one block are held.

    Args:
        model (nn.Module): A LocalImageClassifier.
        batches (Sequence[Tensor]): Normalised images, (N, C, H, W) each.

    Yields:
        list[Tensor]: What :func:`block_outputs` gives for each batch.
    """
    yield from map(list, zip(*(block_outputs(model, x) for x in batches), strict=True))


def pooled(features: torch.Tensor, unit: Unit) -> torch.Tensor:
    """(N, C): the mean of a map; of tokens the class token, or their mean without one.

    Args:
        features (Tensor): What a block gives.
        unit (Unit): Its last unit.
    """
    if features.ndim == 4:
        return features.mean(dim=(2, 3))
    return pooled_tokens(features, unit.num_extra_tokens) if features.ndim == 3 else features


def plain_loader(cfg: Config, name: str, images: int | None = None) -> DataLoader:
    """A loader of a data set without augmentation, in order.

    The training set gets the pipeline of ``val_dataloader``. Augmentation by
    the data preprocessor is left to its ``training`` argument.

    Args:
        cfg (Config): The config.
        name (str): 'train_dataloader' or 'val_dataloader'.
        images (int | None): Take so many images, drawn once and for all.
            Defaults to None, all.

    Raises:
        UserError: If the config lacks the loader, or its pipeline is unknown.
    """
    for key in {name, 'val_dataloader'}:
        if cfg.get(key) is None:
            raise UserError(f'config {cfg.filename!r} has no {key}')
    set_loader_defaults(cfg)
    loader = copy.deepcopy(dict(cfg[name]))
    own, pipeline = _pipeline_owner(loader['dataset']), _pipeline_owner(cfg.val_dataloader.dataset)
    if own is not None and name != 'val_dataloader':
        if pipeline is None:
            raise UserError(
                'val_dataloader.dataset has no pipeline, so that it is unknown how to read '
                'train_dataloader.dataset without augmentation'
            )
        own['pipeline'] = copy.deepcopy(pipeline['pipeline'])
    dataset = DATASETS.build(loader['dataset'])
    dataset.full_init()
    if images is not None and images < len(dataset):
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
        dataset = Subset(dataset, order[:images].sort().values.tolist())
    loader.pop('batch_sampler', None)
    loader.update(
        dataset=dataset,
        sampler=dict(type='DefaultSampler', shuffle=False),
        drop_last=False,
        persistent_workers=False,
    )
    return Runner.build_dataloader(loader, seed=0)


def pipeline_of(cfg: Config, name: str) -> list[dict]:
    """The pipeline of a data loader's data set, wrapped or not; empty for one held in memory.

    Raises:
        UserError: If the config lacks the loader.
    """
    if cfg.get(name) is None:
        raise UserError(f'config {cfg.filename!r} has no {name}')
    owner = _pipeline_owner(cfg[name].dataset)
    return [] if owner is None else copy.deepcopy(owner['pipeline'])


def _pipeline_owner(dataset: dict) -> dict | None:
    """The config of the data set with a pipeline: itself, or one that it wraps."""
    while dataset is not None and 'pipeline' not in dataset:
        dataset = dataset.get('dataset')
    return dataset
