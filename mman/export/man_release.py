"""Checkpoints of the released MAN and MAN++ code."""

import re
from collections.abc import Iterator

import torch
from mmengine.config import Config
from torch import nn

import mman
from mman.apis import get_model
from mman.apis.models import read_checkpoint
from mman.models import DGLAuxHead, MomentumAuxHead
from mman.utils import UserError
from mman.utils.checkpoint_fit import fitting_weights
from mman.utils.new_file import check_new_file, write_new

from .exported import Exported, torch_bytes

# What the release trains with; it makes heads for every unit, used or not.
_TRAINING = re.compile(r'(LB|EMA_Net|EMA_first|ema_s|decoder|aux_classifier)[._]')
# Names of backbone and classifier.
_CLASSIFIER_RULES = [(r'(conv1|bn1|layer\d+)\.', r'backbone.\1.'), (r'fc64\.', 'head.fc.')]

Weights = dict[str, torch.Tensor]


def convert_man_release(checkpoint: str, out: str, config: str | Config | None = None) -> Exported:
    """Give a checkpoint of the released MAN or MAN++ code the names of this toolbox.

    Args:
        checkpoint (str): A local file of the release.
        out (str): The new file, .pth.
        config (str | Config | None): The config of the same split, heads and
            width, as :func:`mman.apis.get_model` takes it, to convert the aux
            heads too. Defaults to None, the classifier alone.

    Raises:
        UserError: If the checkpoint is missing or not of the release, the
            config does not fit it, or ``out`` is refused. Nothing is written then.
    """
    check_new_file(out, '.pth')
    weights = read_checkpoint(checkpoint)['state_dict']
    if 'fc64.weight' not in weights or 'layer1.0.conv1.weight' not in weights:
        raise UserError(
            f'checkpoint {checkpoint!r} is not one of the released code: it lacks fc64.weight or '
            'layer1.0.conv1.weight'
        )
    meta = dict(mman_version=mman.__version__)
    if config is None:
        found, left_out = _renamed(weights, _CLASSIFIER_RULES)
    else:
        model = get_model(config)
        found, left_out = _renamed(weights, [*_CLASSIFIER_RULES, *_head_rules(model)])
        found = _fitted(found, model, left_out)
        meta.update(block_ends=model.block_ends, cfg=model._config.pretty_text)
    write_new(out, torch_bytes(dict(meta=meta, state_dict=found)))
    said = f'{len(found)} entries, {len(left_out)} of training left out'
    return Exported(out, dict(converted=said))


def _head_rules(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of the aux heads, by the split of our model.

    The release numbers the copied units by the blocks with a head, but names
    those of a stem that is a block of its own apart; it names decoders and
    classifiers by the stage and unit that comes next.
    """
    if not all(isinstance(head, MomentumAuxHead) for head in model.aux_heads):
        raise UserError('config should train with MomentumAuxHead, as the releases do')
    stem_own = len(model.block_units[0]) == 1 and model.num_blocks > 1
    for k, head in enumerate(model.aux_heads):
        ours = f'aux_heads.{k}.'
        first = model.block_units[k + 1][0]
        stage, unit = first.stage, first.index
        copies = [f'LB.{k - stem_own}.', f'EMA_Net.{k - stem_own}.', f'ema_s.{k - stem_own}']
        if stem_own and k == 0:
            copies, stage, unit = ['LB_first.', 'EMA_first.', 'ema_s_first'], 0, 0
        for theirs, name in zip(copies, ('bias_unit.', 'momentum_unit.', 'scale'), strict=True):
            yield re.escape(theirs) + ('$' if name == 'scale' else ''), ours + name
        classifier = 'head' if isinstance(head.host, DGLAuxHead) else 'aux_net'
        yield rf'decoder_{stage}_{unit}\.', f'{ours}host.decoder.'
        yield rf'aux_classifier_{stage}_{unit}\.head\.', f'{ours}host.{classifier}.'


def _renamed(weights: Weights, rules: list[tuple[str, str]]) -> tuple[Weights, list[str]]:
    """The weights that a rule names, and the names of those left out."""
    found, left_out = {}, []
    for name, value in weights.items():
        rule = next((rule for rule in rules if re.match(rule[0], name)), None)
        if rule is not None:
            found[re.sub(*rule, name, count=1)] = value.clone()
        elif _TRAINING.match(name):
            left_out.append(name)
        else:
            raise UserError(f'the checkpoint has {name!r}, which the released networks do not have')
    return found, left_out


def _fitted(found: Weights, model: nn.Module, left_out: list[str]) -> Weights:
    """The weights that the model has, all of them.

    A network whose loss has weight 0 is in the release's files but not in our
    model; the number of updates is in our model but not in the files.
    """
    own = model.state_dict()
    left_out += [name for name in found if name not in own]
    kept = {name: value for name, value in found.items() if name in own}
    for name in own:
        if name.endswith('.num_updates'):
            # Above 0, so that training goes on from the averages as they are.
            kept[name] = torch.ones((), dtype=torch.int64)
        elif name.endswith('.num_batches_tracked'):
            # Counted, never used; torch itself starts it anew for files without it.
            kept.setdefault(name, torch.zeros((), dtype=torch.int64))
    return fitting_weights(
        model,
        dict(state_dict=kept),
        'the checkpoint, by our names,',
        'Give the config of its split, heads and width',
    )
