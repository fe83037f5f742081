"""Models of the configs by name, and loading weights into them."""

import difflib
import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

import mman
from mman.registry import DATASETS, MODELS, register_all_modules
from mman.utils import UserError
from mman.utils.checkpoint import load_from_local
from mman.utils.safe_loading import restrict_loading

from .config import load_config

CONFIGS = Path(mman.__file__).resolve().parents[1] / 'configs'
# Not used at inference, and what a published checkpoint is without.
_AUX_HEADS = 'aux_heads.'


def list_models(pattern: str | None = None) -> list[str]:
    """Names of the configs in the folder ``configs``, such as 'man/resnet20_k10_digits'.

    Args:
        pattern (str | None): What a name should start with; ``*`` stands for
            any characters, as in 'manpp/*imagenet'. Defaults to None, all.

    Raises:
        UserError: If there is no such folder: it is part of the repository,
            not of an installed package.
    """
    if not CONFIGS.is_dir():
        raise UserError(
            f'the configs are not at {str(CONFIGS)!r}: they come with the repository only; give '
            'the path of a config file instead of a name'
        )
    paths = (path.relative_to(CONFIGS) for path in CONFIGS.rglob('*.py'))
    names = [path.with_suffix('').as_posix() for path in paths if '_base_' not in path.parts]
    return sorted(fnmatch.filter(names, f'{pattern or ""}*'))


def get_model(
    model: str | Config,
    pretrained: str | None = None,
    device: str | torch.device | None = None,
    aux_heads: bool = False,
) -> nn.Module:
    """Build the model of a config, for inference.

    Like ``mmpretrain.get_model`` it keeps the config as ``_config`` and what is
    known of the data set as ``_dataset_meta``, so that mmpretrain's
    inferencers take it.

    Args:
        model (str | Config): A name out of :func:`list_models`, the path of a
            config file, or a config.
        pretrained (str | None): A local checkpoint, of training or published.
            Defaults to None, weights as the modules draw them, before ``init_weights``.
        device (str | torch.device | None): Where to put it. Defaults to None,
            the CPU.
        aux_heads (bool): Whether the checkpoint must have the aux heads too,
            as early exits need. Defaults to False.

    Returns:
        nn.Module: In eval mode.

    Raises:
        UserError: If there is no such config, it cannot be built, the
            checkpoint is refused or does not fit exactly, or there is no such
            device.
    """
    cfg = model if isinstance(model, Config) else load_config(config_path(model))
    built = build_from_config(cfg)
    built._config, built._metainfo = cfg, None
    built._dataset_meta = _dataset_meta(cfg)
    if pretrained is not None:
        meta = load_weights(built, pretrained, aux_heads)
        built._dataset_meta = meta.get('dataset_meta') or built._dataset_meta
    try:
        return built.to(device or 'cpu').eval()
    except (AssertionError, RuntimeError) as error:
        reason = str(error).split('\n')[0]
        raise UserError(f'device={device!r} cannot hold the model: {reason}') from error


def config_path(model: str) -> str:
    """The path of a config file, given by its path or by its name.

    Raises:
        UserError: If there is none.
    """
    if Path(model).suffix in ('.py', '.yml', '.yaml', '.json'):
        return model
    known = list_models()
    if model not in known:
        close = difflib.get_close_matches(str(model), known, n=3, cutoff=0.5)
        hint = f'; did you mean {" or ".join(close)}?' if close else ''
        raise UserError(f'model {model!r} is neither a config file nor the name of one{hint}')
    return str(CONFIGS / f'{model}.py')


def build_from_config(cfg: Config) -> nn.Module:
    """Build ``cfg.model`` as a Runner would.

    Raises:
        UserError: If there is none, or it cannot be built.
    """
    if cfg.get('model') is None:
        raise UserError(f'config {cfg.filename!r} has no model')
    register_all_modules()
    restrict_loading(unsafe=False)
    init_default_scope(cfg.get('default_scope', 'mman'))
    model = cfg.model.to_dict()
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor.to_dict())
    try:
        return MODELS.build(model)
    except (KeyError, TypeError, ValueError) as error:
        reason = ' '.join(str(error.args[0]).split()) if error.args else type(error).__name__
        raise UserError(
            f'the model of config {cfg.filename!r} cannot be built: {reason}'
        ) from error


def load_weights(model: nn.Module, checkpoint: str, aux_heads: bool = False) -> Mapping[str, Any]:
    """Load a checkpoint that fits the model exactly, running no code of the file.

    Args:
        model (nn.Module): A classifier.
        checkpoint (str): A local file.
        aux_heads (bool): Whether it must have the aux heads. Defaults to False.

    Returns:
        Mapping: The checkpoint's ``meta``.

    Raises:
        UserError: If it cannot be read or does not fit; the model is then as
            it was.
    """
    content = read_checkpoint(checkpoint)
    meta = content.get('meta') or {}
    weights = {name.removeprefix('module.'): v for name, v in content['state_dict'].items()}
    where = f'checkpoint {checkpoint!r}'
    _check_split(model, meta, where)
    own = model.state_dict()
    optional = () if aux_heads or any(n.startswith(_AUX_HEADS) for n in weights) else (_AUX_HEADS,)
    problems = {
        'lacks': [n for n in own if n not in weights and not n.startswith(optional)],
        'has unknown': [n for n in weights if n not in own],
        'has misshapen': [n for n in own if n in weights and own[n].shape != weights[n].shape],
    }
    found = [f'{what} {_short(names)}' for what, names in problems.items() if names]
    if found:
        raise UserError(
            f'{where} does not fit the model: it {"; it ".join(found)}. Use the config it was '
            'trained with' + (', and a checkpoint with its aux heads' if aux_heads else '')
        )
    model.load_state_dict(weights, strict=False)
    return meta


def read_checkpoint(path: str) -> dict[str, Any]:
    """A checkpoint with its weights as ``state_dict``, on the CPU.

    Raises:
        UserError: If it is missing, damaged, could run code, or holds no such
            entry.
    """
    if not Path(path).expanduser().is_file():
        raise UserError(f'checkpoint {path!r} should be a local file')
    content = load_from_local(path, map_location='cpu')
    if not isinstance(content, Mapping) or not isinstance(content.get('state_dict'), Mapping):
        raise UserError(
            f"checkpoint {path!r} has no 'state_dict': it should be a checkpoint of training, or a "
            'published one'
        )
    return dict(content)


def _check_split(model: nn.Module, meta: Mapping, where: str) -> None:
    """Refuse a checkpoint of another split."""
    saved, ends = meta.get('block_ends'), getattr(model, 'block_ends', None)
    if saved is not None and ends is not None and list(saved) != list(ends):
        raise UserError(
            f'{where} has {len(saved)} local blocks ending at {_short(saved)}, the config '
            f'{len(ends)} ending at {_short(ends)}: use the config it was trained with'
        )


def _dataset_meta(cfg: Config) -> dict:
    """What the class of the test set says of itself, its classes for one."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    if 'type' not in dataset:
        return {}
    return dict(getattr(DATASETS.get(dataset['type']), 'METAINFO', {}))


def _short(names: list[str]) -> str:
    """The first few names and how many more there are."""
    return ', '.join(names[:4]) + (f' and {len(names) - 4} more' if len(names) > 4 else '')
