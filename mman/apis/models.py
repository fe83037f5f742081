"""Models of the configs by name, and loading weights into them."""

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mman.registry import MODELS, register_all_modules
from mman.utils import UserError
from mman.utils.build_errors import named_errors
from mman.utils.checkpoint_fit import fitting_weights, weights_and_meta
from mman.utils.safe_loading import restrict_loading

#: Prefix of what training uses and inference does not; a published checkpoint is without.
AUX_HEADS = 'aux_heads.'


def build_model(cfg: Config) -> nn.Module:
    """Build ``cfg.model`` as a Runner would, in train mode.

    Raises:
        UserError: If there is none, or it cannot be built.
    """
    if cfg.get('model') is None:
        raise UserError(f'{_named(cfg)} has no model')
    register_all_modules()
    restrict_loading()
    init_default_scope(cfg.get('default_scope', 'mman'))
    model = copy.deepcopy(cfg.model)
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    with named_errors(model, 'model'):
        return MODELS.build(model).train()


def build_local_model(cfg: Config) -> nn.Module:
    """:func:`build_model`, which must be a LocalImageClassifier.

    Raises:
        UserError: If it is none, or it cannot be built.
    """
    if (cfg.get('model') or {}).get('splitter') is None:
        raise UserError(
            f'{_named(cfg)} has no model.splitter: only a LocalImageClassifier is cut into local '
            'blocks'
        )
    return build_model(cfg)


def _named(cfg: Config) -> str:
    """How an error calls a config, which may have no file."""
    return f'config {cfg.filename!r}' if cfg.filename else 'the config'


def load_weights(
    model: nn.Module, checkpoint: str, aux_heads: bool = False, unsafe_load: bool = False
) -> Mapping[str, Any]:
    """Load a checkpoint that fits the model exactly.

    Args:
        model (nn.Module): A classifier.
        checkpoint (str): A file, or another place that mmengine loads from.
        aux_heads (bool): Whether it must have the aux heads. Defaults to
            False: it has all of them or none.
        unsafe_load (bool): Whether a checkpoint may run code. Defaults to False.

    Returns:
        Mapping: The checkpoint's ``meta``.

    Raises:
        UserError: If it cannot be read or does not fit; the model is then as
            it was.
    """
    content = read_checkpoint(checkpoint, unsafe_load)
    needed = aux_heads or any(name.startswith(AUX_HEADS) for name in content['state_dict'])
    weights = fitting_weights(
        model,
        content,
        f'checkpoint {checkpoint!r}',
        'Use the config it was trained with'
        + (', and a checkpoint with its aux heads' if aux_heads else ''),
        allow_missing=() if needed else (AUX_HEADS,),
    )
    model.load_state_dict(weights, strict=False)
    return content['meta']


def read_checkpoint(path: str, unsafe_load: bool = False) -> dict[str, Any]:
    """A checkpoint, on the CPU, with its weights as ``state_dict``, and ``meta``.

    Args:
        path (str): A file, or another place that mmengine loads from.
        unsafe_load (bool): Whether it may run code. Defaults to False.

    Raises:
        UserError: If it is missing, damaged, could run code, or holds no weights.
    """
    path = os.fspath(path)
    if '://' not in path and not Path(path).expanduser().is_file():
        raise UserError(f'checkpoint {path!r} should be a local file')
    restrict_loading(unsafe_load)
    try:
        content = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
    except UserError:
        raise
    except Exception as error:  # Unpickling a file that is no checkpoint raises almost anything.
        raise UserError(
            f'checkpoint {path!r} cannot be read ({type(error).__name__}: {error}); it should be '
            'a complete file written by torch.save'
        ) from error
    if isinstance(content, Mapping) and content and all(map(torch.is_tensor, content.values())):
        content = dict(state_dict=content)
    if not isinstance(content, Mapping) or 'state_dict' not in content:
        raise UserError(
            f"checkpoint {path!r} has no 'state_dict': it should be a checkpoint of training, or a "
            'published one'
        )
    weights, meta = weights_and_meta(content, f'checkpoint {path!r}')
    return {**content, 'state_dict': weights, 'meta': meta}
