"""From the names of weights in plain networks to those in our classifier."""

import re
import sys
from collections.abc import Iterable

import torch
from torch import nn

from mman.utils.errors import UserError

# torchvision's dense layers in its first files, norm.1 where they have norm1 today.
_OLD_DENSE = re.compile(r'(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)')

Weights = dict[str, torch.Tensor]
# Of backbone and neck, by our names; of the classifier, by the file's; what was converted.
PlainWeights = tuple[Weights, Weights, list[str]]


def named_as_ours(weights: Weights, source: str, model: nn.Module) -> PlainWeights:
    """Sort the weights of a file and give them the classifier's names.

    Args:
        weights (Weights): By name in the file.
        source (str): 'mmpretrain', 'timm' or 'torchvision', whose names they are.
        model (nn.Module): A classifier with a backbone.
    """
    if source == 'mmpretrain':
        return _parted(weights, ['head'])
    if source == 'timm':
        return _from_timm(weights, model.backbone)
    today = {_OLD_DENSE.sub(r'\1\2', name): value for name, value in weights.items()}
    return _parted(today, getattr(model.backbone, 'left_out', ['fc']), 'backbone.')


def head_as_ours(head: Weights, source: str, model: nn.Module) -> Weights:
    """The weights of a plain network's classifier, one linear layer, by their names in our head."""
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
    try:
        converted = weights if convert is None else convert(dict(weights), model)
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
    names = [names] if isinstance(names, str) else names
    return _parted(converted, names, 'backbone.timm_model.', notes)


def _parted(
    weights: Weights, heads: Iterable[str], prefix: str = '', notes: Iterable[str] = ()
) -> PlainWeights:
    """Everything but the modules named in ``heads``, with a prefix; and those."""
    starts = tuple(f'{name}.' for name in heads)
    head = {name: value for name, value in weights.items() if name.startswith(starts)}
    body = {f'{prefix}{name}': value for name, value in weights.items() if name not in head}
    return body, head, list(notes)
