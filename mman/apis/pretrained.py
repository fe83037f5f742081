"""Starting to train from the weights of a plain network."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mman.utils import dict_at
from mman.utils.checkpoint import latest_checkpoint
from mman.utils.checkpoint_fit import fitting_weights
from mman.utils.errors import UserError, few
from mman.utils.plain_weights import read_weights
from mman.utils.unwrap import unwrap
from mman.validation import class_name
from mman.validation.values import check_call

from .from_library import head_as_ours, named_as_ours
from .models import AUX_HEADS


def start_from_pretrained(runner: Runner) -> None:
    """Do what the config's ``pretrained`` asks, if it has it: begin with a plain network's weights.

    The key is a dict of the arguments of :func:`read_pretrained` but the model.
    The weights are loaded after the model was initialised and before anything
    copies them, such as momentum and bias units. Aux heads start as they are configured.
    A resumed run loads nothing and needs no file.
    """
    cfg = runner.cfg.get('pretrained')
    if cfg is None or _resumes(runner):
        return
    check_call(dict_at('pretrained', cfg), 'pretrained', read_pretrained, ('model',))
    if runner._load_from is not None:
        raise UserError(
            f'pretrained and load_from={runner._load_from!r} are both set: which weights to start '
            'from should be one of them'
        )
    # Now, so that what is wrong shows before data sets are read; training initialises weights.
    hook = PretrainedHook(*read_pretrained(unwrap(runner.model), **cfg))
    runner.register_hook(hook, priority='VERY_HIGH')


def check_initialisation(cfg: Config) -> None:
    """Refuse mmengine's own ways to load weights into a model cut into blocks.

    They skip what does not fit: ``model.pretrained``, and ``init_cfg`` of the type 'Pretrained'.
    """
    model = cfg.get('model') or {}
    if model.get('splitter') is None:
        return
    found = [
        path
        for path, kind in _types(model, 'model')
        if class_name(kind) in ('Pretrained', 'PretrainedInit')
    ]
    if model.get('pretrained') is not None:
        found.append('model.pretrained')
    if found:
        raise UserError(
            f'{found[0]} would skip in silence what does not fit: leave it out and set '
            "pretrained=dict(checkpoint=..., source='mmpretrain') beside model"
        )


class PretrainedHook(Hook):
    """Load weights after the model was initialised and before anything copies them.

    They are of the model, or of a part of it; ``lines`` go to the log.
    """

    def __init__(self, weights: dict[str, torch.Tensor], lines: Sequence[str]):
        self._weights, self._lines = weights, lines

    def before_train(self, runner: Runner) -> None:
        """Load, say so, and let go of the weights."""
        unwrap(runner.model).load_state_dict(self._weights, strict=False)
        for line in self._lines:
            runner.logger.info(line)
        self._weights = None


def read_pretrained(
    model: nn.Module,
    checkpoint: str,
    source: Literal['mmpretrain', 'timm', 'torchvision'] = 'mmpretrain',
    drop_head: bool = False,
    entry: str | None = None,
    sha256: str | None = None,
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Weights of a plain network by their names in a model, and lines for the log.

    Everything of the model but aux heads, and the classifier if that is left
    out, must be in the file, and nothing else.

    Args:
        model (nn.Module): The classifier; it is left alone.
        checkpoint (str): A local file of torch.save or safetensors.
        source (str): Whose names the weights have. Defaults to 'mmpretrain'.
        drop_head (bool): Whether the file's classifier is left out; it is too
            where its number of classes differs. Defaults to False.
        entry (str | None): See :func:`mman.utils.plain_weights.read_weights`.
        sha256 (str | None): See there.

    Raises:
        UserError: If anything is lacking, unknown or of another shape.
    """
    where = f'pretrained.checkpoint={checkpoint!r} (source={source!r})'
    body, head, notes = named_as_ours(read_weights(checkpoint, entry, sha256), source, model)
    classes = getattr(model, 'num_classes', None) or model.head.num_classes
    # The last layer's weight or bias has one row or value a class.
    found = len(list(head.values())[-1]) if head else None
    drop_head = drop_head or found not in (None, classes)
    if not drop_head and not head:
        raise UserError(f'{where} holds no classifier: set pretrained.drop_head=True')
    if drop_head and head:
        notes = [
            f'its classifier of {found} classes is left out, the one of the model has {classes} '
            f'and starts anew: {few(head)}',
            *notes,
        ]
    weights = {**body, **({} if drop_head else head_as_ours(head, source, model))}
    fitting_weights(
        model,
        dict(state_dict=weights),
        where,
        'Give the backbone and the source that it was made with',
        allow_missing=(AUX_HEADS, 'head.') if drop_head else (AUX_HEADS,),
    )
    return weights, [f'{where}: {line}' for line in (f'{len(weights)} entries loaded', *notes)]


def _resumes(runner: Runner) -> bool:
    """Whether the Runner will go on from a checkpoint of its own."""
    if not runner._resume:
        return False
    return runner._load_from is not None or latest_checkpoint(runner.work_dir) is not None


def _types(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The ``type`` of every dict in a tree of dicts and lists, with its path."""
    if isinstance(value, Mapping):
        yield path, value.get('type')
        for key, inner in value.items():
            yield from _types(inner, f'{path}.{key}')
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _types(inner, f'{path}[{number}]')
