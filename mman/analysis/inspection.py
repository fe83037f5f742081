"""What looks inside a model have in common: the model, its data, the outputs of its blocks."""

import copy
from collections.abc import Iterator

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader, Subset

from mman.apis.config import set_loader_defaults
from mman.apis.memory_budget import apply_memory_budget
from mman.apis.models import build_local_model, load_weights
from mman.models import MomentumAuxHead
from mman.registry import DATASETS
from mman.utils.errors import UserError


def local_model(cfg: Config) -> nn.Module:
    """The LocalImageClassifier of ``cfg``, ``memory_budget`` applied, in eval mode.

    Raises:
        UserError: If the config has none, or it cannot be built.
    """
    apply_memory_budget(cfg)
    return build_local_model(cfg).eval()


def loaded_model(
    cfg: Config,
    checkpoint: str,
    device: str,
    aux_heads: bool | None = False,
    unsafe_load: bool = False,
) -> nn.Module:
    """:func:`local_model` with the weights of a checkpoint, on a device.

    Args:
        cfg (Config): The config.
        checkpoint (str): See :func:`mman.apis.models.load_weights`.
        device (str): Where the model is to run.
        aux_heads (bool | None): Whether the checkpoint must have the aux heads; None where
            they have momentum units. Defaults to False.
        unsafe_load (bool): Whether it may run code. Defaults to False.

    Raises:
        UserError: If the config or the checkpoint is refused.
    """
    model = local_model(cfg)
    if aux_heads is None:
        aux_heads = any(isinstance(head, MomentumAuxHead) for head in model.aux_heads)
    load_weights(model, checkpoint, aux_heads, unsafe_load)
    return model.to(device)


def block_outputs(model: nn.Module, inputs: torch.Tensor) -> Iterator[torch.Tensor]:
    """The output of every block of normalised images (N, C, H, W), in the mode the model is in.

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


def loader_config(cfg: Config, name: str, hint: str = '') -> dict:
    """A copy of a data loader's config, such as 'val_dataloader', with its defaults.

    Raises:
        UserError: If the config lacks it; ``hint`` ends the message.
    """
    if cfg.get(name) is None:
        raise UserError(f'config {cfg.filename!r} has no {name}{hint}')
    set_loader_defaults(cfg)
    return copy.deepcopy(dict(cfg[name]))


def plain_loader(cfg: Config, name: str, images: int | None = None) -> DataLoader:
    """A loader of a data set without augmentation, in order.

    The training set gets the pipeline of ``val_dataloader``. Augmentation by the data
    preprocessor is left to its ``training`` argument. ``images`` takes so many, drawn once and
    for all; None takes all.

    Raises:
        UserError: If the config lacks the loader, or its pipeline is unknown.
    """
    loader, validation = loader_config(cfg, name), loader_config(cfg, 'val_dataloader')
    own, pipeline = pipeline_owner(loader['dataset']), pipeline_owner(validation['dataset'])
    if own is not None and name != 'val_dataloader':
        if pipeline is None:
            raise UserError(
                'val_dataloader.dataset has no pipeline, so that it is unknown how to read '
                'train_dataloader.dataset without augmentation'
            )
        own['pipeline'] = pipeline['pipeline']
    dataset = DATASETS.build(loader['dataset'])
    dataset.full_init()
    if images is not None and images < len(dataset):
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
        dataset = Subset(dataset, order[:images].sort().values.tolist())
    loader.pop('batch_sampler', None)
    sampler = dict(type='DefaultSampler', shuffle=False)
    loader.update(dataset=dataset, sampler=sampler, drop_last=False, persistent_workers=False)
    return Runner.build_dataloader(loader, seed=0)


def pipeline_owner(dataset: dict | None) -> dict | None:
    """The config with a ``pipeline``: of the data set, or of one that it wraps; None without."""
    while dataset is not None and 'pipeline' not in dataset:
        dataset = dataset.get('dataset')
    return dataset
