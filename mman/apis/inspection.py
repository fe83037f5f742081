"""What tools share that look inside a trained model: the model, its data, outputs of blocks."""

import copy
from collections.abc import Iterator, Sequence

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader, Subset

from mman.models.aux_heads.layouts import Pooled
from mman.models.splitters import Unit
from mman.registry import DATASETS
from mman.utils.errors import UserError
from mman.utils.safe_loading import restrict_loading

from .config import set_loader_defaults
from .memory_budget import apply_memory_budget
from .models import build_local_model, build_model, load_weights


def built_model(cfg: Config) -> nn.Module:
    """The classifier of ``cfg`` as it is trained, ``memory_budget`` applied, in eval mode.

    Raises:
        UserError: If the config has none, or it cannot be built.
    """
    restrict_loading()
    apply_memory_budget(cfg)
    return build_model(cfg).eval()


def local_model(cfg: Config) -> nn.Module:
    """:func:`built_model`, which must be a LocalImageClassifier.

    Raises:
        UserError: If the config has none, or it cannot be built.
    """
    restrict_loading()
    apply_memory_budget(cfg)
    return build_local_model(cfg).eval()


def loaded_model(
    cfg: Config, checkpoint: str, device: str, aux_heads: bool = False, unsafe: bool = False
) -> nn.Module:
    """:func:`local_model` with the weights of a checkpoint, on a device.

    Args:
        cfg (Config): The config.
        checkpoint (str): See :func:`mman.apis.models.load_weights`.
        device (str): Where the model is to run.
        aux_heads (bool): Whether the checkpoint must have the aux heads.
            Defaults to False.
        unsafe (bool): Whether it may run code. Defaults to False.

    Raises:
        UserError: If the config or the checkpoint is refused.
    """
    model = local_model(cfg)
    load_weights(model, checkpoint, aux_heads, unsafe)
    return model.to(device)


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
    return features if features.ndim == 2 else Pooled(unit.num_extra_tokens)(features)


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
