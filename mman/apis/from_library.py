"""From the names of weights in plain networks to those in our classifier."""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from mman.utils.errors import UserError

SOURCES = ('mmpretrain', 'timm', 'torchvision')
_TIMM = 'backbone.timm_model.'

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class PlainWeights:
    """Weights of a plain network, for a classifier of ours.

    Args:
        body (Weights): Of backbone and neck, by name in the classifier.
        head (Weights): Of its own classifier, by name in the file.
        notes (tuple[str, ...]): What was converted, for the log.
    """

    body: Weights
    head: Weights
    notes: tuple[str, ...] = ()


def named_as_ours(weights: Weights, source: str, model: nn.Module) -> PlainWeights:
    """Sort the weights of a file and give them the classifier's names.

    Args:
        weights (Weights): By name in the file.
        source (str): Out of :data:`SOURCES`, whose names they are.
        model (nn.Module): A classifier with a backbone.

    Raises:
        UserError: If the backbone is none for this source.
    """
    if source == 'mmpretrain':
        body, head = _parted(weights, ['head'])
        return PlainWeights(body, head)
    if source == 'timm':
        return _from_timm(weights, model.backbone)
    body, head = _parted(_today(weights), getattr(model.backbone, 'left_out', ['fc']))
    return PlainWeights(_prefixed('backbone.', body), head)


def head_as_ours(head: Weights, source: str, model: nn.Module) -> Weights:
    """The weights of a plain network's classifier by their names in our head.

    Raises:
        UserError: If they are not those of one linear layer, or our head is
            none.
    """
    if source == 'mmpretrain':
        return head
    ours = getattr(model.head, 'fc', None)
    if sorted(value.ndim for value in head.values()) != [1, 2] or not isinstance(ours, nn.Linear):
        raise UserError(
            f'pretrained: the classifier in the file ({", ".join(head)}) cannot be put '
            f'into {type(model.head).__name__}, only one linear layer into a LinearClsHead: set '
            'pretrained.drop_head=True'
        )
    return {f'head.fc.{"weight" if v.ndim == 2 else "bias"}': v for v in head.values()}


def _from_timm(weights: Weights, backbone: nn.Module) -> PlainWeights:
    """Names of a timm model, converted as timm does before it loads a file itself."""
    model = getattr(backbone, 'timm_model', None)
    if model is None:
        raise UserError(
            f"pretrained.source='timm' is for a TIMMBackbone, not for {type(backbone).__name__}"
        )
    convert = getattr(sys.modules[type(model).__module__], 'checkpoint_filter_fn', None)
    converted = weights
    if convert is not None:
        try:
            converted = convert(dict(weights), model)
        except Exception as error:
            # Written for files of this model only.
            raise UserError(
                f'pretrained: timm cannot convert the file for {type(model).__name__} '
                f'({type(error).__name__}: {error}); is it a checkpoint of that model?'
            ) from error
    notes = [
        f'{name} resized from {tuple(weights[name].shape)} to {tuple(value.shape)}'
        for name, value in converted.items()
        if name in weights and weights[name].shape != value.shape
    ]
    names = model.pretrained_cfg.get('classifier') or ()
    body, head = _parted(converted, [names] if isinstance(names, str) else names)
    return PlainWeights(_prefixed(_TIMM, body), head, tuple(notes))


def _today(weights: Weights) -> Weights:
    """Names of torchvision's dense layers as they are today, not as in its first files."""
    pattern = re.compile(r'(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)')
    return {pattern.sub(r'\1\2', name): value for name, value in weights.items()}


def _parted(weights: Weights, heads: Iterable[str]) -> tuple[Weights, Weights]:
    """Everything but the modules named in ``heads``, and those."""
    starts = tuple(f'{name}.' for name in heads)
    body = {name: value for name, value in weights.items() if not name.startswith(starts)}
    return body, {name: value for name, value in weights.items() if name not in body}


def _prefixed(prefix: str, weights: Weights) -> Weights:
    return {f'{prefix}{name}': value for name, value in weights.items()}
