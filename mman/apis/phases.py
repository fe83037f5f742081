"""Training the blocks of one network at different times: the config's ``phases``."""

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mman.engine.hooks import CyclicBlocksHook
from mman.models.classifiers import exit_blocks
from mman.models.classifiers.checks import checked_train_blocks
from mman.utils import UserError, dict_at, integer_from, should_be
from mman.utils.signature import check_keys
from mman.validation import class_name

from .memory_prediction import largest_batch
from .models import build_local_model

#: Words that ``phases`` may be, or ``phases.type``.
KINDS = ('joint', 'sequential', 'cyclic')
_LENGTHS = dict(epochs='max_epochs', iters='max_iters')


@dataclass(frozen=True)
class Phase:
    """What trains together, and how long.

    Args:
        blocks (tuple[int, ...]): Numbers of the blocks, in order.
        epochs (int | None): How many. Defaults to None, ``train_cfg.max_epochs``.
        iters (int | None): Likewise of a loop by iterations, ``train_cfg.max_iters``.
        batch_size (int | str | None): Images of a batch on each process; 'auto'
            for the largest that is predicted to fit ``memory_budget.gib``. Defaults
            to None, ``train_dataloader.batch_size``.
        cfg (dict): Merged into the config of this phase. Defaults to {}.
    """

    blocks: tuple[int, ...]
    epochs: int | None = None
    iters: int | None = None
    batch_size: int | str | None = None
    cfg: dict = field(default_factory=dict)

    def __str__(self) -> str:
        words = ['blocks' if len(self.blocks) > 1 else 'block', *map(str, self.blocks)]
        lengths = (f'{key} {getattr(self, key)}' for key in _LENGTHS if getattr(self, key))
        return ', '.join([' '.join(words), *lengths])

    def described(self) -> dict:
        """As the record of a training keeps it."""
        return {**asdict(self), 'blocks': list(self.blocks)}


def kind_of(cfg: Config) -> str:
    """One of :data:`KINDS`, or 'listed'."""
    value = cfg.get('phases')
    if isinstance(value, Sequence) and not isinstance(value, str):
        return 'listed'
    kind = value.get('type') if isinstance(value, Mapping) else value or 'joint'
    if kind not in KINDS:
        raise UserError(
            f'phases={value!r} should be one of {", ".join(KINDS)}, a dict with one of them as its '
            'type, or a list of phases, each a dict with blocks'
        )
    return kind


def in_phases(cfg: Config) -> bool:
    """Whether training is several trainings, one after the other."""
    return kind_of(cfg) in ('sequential', 'listed')


def apply_cyclic(cfg: Config) -> None:
    """Where ``phases`` is 'cyclic', add the hook that lets blocks train by turns."""
    if kind_of(cfg) != 'cyclic':
        return
    _check_surroundings(cfg)
    hook = dict(type='CyclicBlocksHook', **_options(cfg, CyclicBlocksHook))
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
    # The hook says it from now on, in the config that is saved with the log too.
    cfg.pop('phases')


def make_phases(cfg: Config) -> list[Phase]:
    """The phases of a config, whose training is :func:`in_phases`.

    Raises:
        UserError: If they are wrong, or the config has what does not go with them.
    """
    _check_surroundings(cfg)
    count = build_local_model(cfg).num_blocks
    if kind_of(cfg) == 'sequential':
        options = _options(cfg, Phase, ('blocks',))
        return [_phase(cfg, 'phases', dict(options, blocks=[k]), count) for k in range(count)]
    if not cfg.phases:
        raise should_be('phases', cfg.phases, 'a list of one phase or more')
    found = []
    for number, value in enumerate(cfg.phases):
        where = f'phases[{number}]'
        check_keys(dict_at(where, value), where, Phase, (), ())
        found.append(_phase(cfg, where, value, count))
    return found


def phase_config(cfg: Config, phases: Sequence[Phase], number: int) -> Config:
    """The config of the training that is one phase, without the weights that it starts from.

    It has a folder of its own in the work dir of the whole training.
    """
    phase, one = phases[number], copy.deepcopy(cfg)
    one.pop('phases')
    one.merge_from_dict(copy.deepcopy(phase.cfg))
    one.work_dir = str(Path(cfg.work_dir) / f'phase{number}')
    for hook in (one.get('default_hooks') or {}).values():
        # Hooks add the name of the work dir to theirs.
        if hook is not None and hook.get('out_dir'):
            hook.out_dir = os.path.join(
                hook.out_dir, os.path.basename(os.path.abspath(cfg.work_dir))
            )
    one.experiment_name = f'{cfg.get("experiment_name") or "phases"}_{number}'
    one.model.train_blocks = list(phase.blocks)
    for key, place in _LENGTHS.items():
        if getattr(phase, key) is not None:
            one.train_cfg[place] = getattr(phase, key)
    if number and one.get('pretrained') is not None:
        one.pop('pretrained')
    if phase.batch_size == 'auto':
        gib = one.pop('memory_budget')['gib']
        one.train_dataloader.batch_size = largest_batch(one, gib)
        one.auto_scale_lr.enable = True
    elif phase.batch_size is not None:
        one.train_dataloader.batch_size = phase.batch_size
    if one.get('feature_cache') is not None:
        if phase.blocks[0]:
            # In one place, so that each is made from the one of the phase before.
            one.feature_cache.setdefault('folder', str(Path(cfg.work_dir) / 'feature_cache'))
        else:
            one.pop('feature_cache')
    return one


def validate_at(cfg: Config, blocks: Sequence[int]) -> str | None:
    """Let a phase validate by the classifier of its last block.

    What was changed in the phase's config is returned in words; None if the last block is
    the network's.
    """
    model = build_local_model(cfg)
    last = blocks[-1]
    if last == model.num_blocks - 1 or cfg.get('val_cfg') is None:
        return None
    if last in exit_blocks(model):
        cfg.model.predict_at = last
        return f'validation is of block{last}: its aux head predicts the classes'
    for key in ('val_cfg', 'val_dataloader', 'val_evaluator'):
        cfg[key] = None
    text = f'no validation: the aux head of block{last} has no classifier'
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if checkpoint.pop('save_best', None) is not None:
        text += ', so no best checkpoint is saved either'
    return text


def _options(cfg: Config, target: Callable, given: Sequence[str] = ()) -> dict:
    """What a dict of ``phases`` has beside its type."""
    options = dict(cfg.phases) if isinstance(cfg.phases, Mapping) else {}
    options.pop('type', None)
    check_keys(options, 'phases', target, given, ())
    return options


def _phase(cfg: Config, where: str, value: Mapping, num_blocks: int) -> Phase:
    """A phase of checked values."""
    blocks = checked_train_blocks(value['blocks'], num_blocks, f'{where}.blocks')
    lengths = {}
    for key, place in _LENGTHS.items():
        length = lengths[key] = value.get(key, cfg.train_cfg.get(place))
        if length is None:
            continue
        integer_from(1, f'{where}.{key}', length)
        if place not in cfg.train_cfg:
            raise UserError(f'{where}.{key}={length} needs train_cfg.{place}, which is not there')
    _check_batch(cfg, where, value.get('batch_size'))
    changes = dict_at(f'{where}.cfg', value.get('cfg', {}))
    return Phase(**{**value, **lengths, 'blocks': blocks, 'cfg': dict(changes)})


def _check_batch(cfg: Config, where: str, value: Any) -> None:
    if value not in (None, 'auto') and (type(value) is not int or value < 1):
        raise should_be(f'{where}.batch_size', value, "an integer from 1 on, or 'auto'")
    if value != 'auto':
        return
    budget = cfg.get('memory_budget')
    if not isinstance(budget, Mapping) or set(budget) != {'gib'}:
        raise UserError(
            f"{where}.batch_size='auto' needs memory_budget=dict(gib=...) and nothing else in it, "
            f'not {budget!r}'
        )
    if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
        raise UserError(
            f"{where}.batch_size='auto' needs auto_scale_lr.base_batch_size: the total batch that "
            'the learning rates are for'
        )


def _check_surroundings(cfg: Config) -> None:
    """Refuse what belongs to all blocks at once."""
    if cfg.model.get('train_blocks') is not None:
        raise UserError(
            f'model.train_blocks={cfg.model.train_blocks!r} and phases={cfg.phases!r} both say '
            'which blocks train: leave one of them out'
        )
    for hook in cfg.get('custom_hooks') or ():
        if class_name(hook['type']) == 'EMAHook':
            raise UserError(
                f'phases={cfg.phases!r} has no average of all weights over a training, which '
                "EMAHook in custom_hooks keeps: leave it out, or set phases='joint'"
            )
    wrapper = cfg.get('model_wrapper_cfg') or {}
    if class_name(wrapper.get('type', '')) == 'LocalPipelineParallel':
        raise UserError(
            f'phases={cfg.phases!r} leaves blocks idle, and LocalPipelineParallel in '
            'model_wrapper_cfg trains all of them at once: leave one of them out'
        )
