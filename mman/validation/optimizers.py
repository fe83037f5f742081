"""The keys of optimizer wrappers and schedules."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from mman.utils import UserError, dict_at, one_of, should_be

from .components import Components
from .values import check_call, check_kinds

_CLIPPING = dict(norm=clip_grad_norm_, value=clip_grad_value_)
_BLOCKS = 'BlockOptimWrapperConstructor'
_LOCAL = (_BLOCKS, f'mman.{_BLOCKS}')


def check_optim_wrapper(wrapper: Mapping, components: Components, local: bool) -> None:
    """Check ``optim_wrapper`` with its optimizer; ``local``, where the model is cut into blocks.

    Those of a constructor that is neither mmengine's nor this package's are
    left to it.
    """
    where, constructor = 'optim_wrapper', wrapper.get('constructor')
    if constructor is not None:
        components.check(dict(type=constructor), f'{where}.constructor')
    if constructor not in (None, 'DefaultOptimWrapperConstructor', *_LOCAL):
        return
    by_block = constructor in _LOCAL
    if local and not by_block:
        right = f'{_BLOCKS!r}: every local block needs an optimizer'
        raise should_be(f'{where}.constructor', constructor, right)
    default = 'BlockOptimWrapper' if by_block else 'OptimWrapper'
    taken = ('constructor', 'paramwise_cfg', *(['blocks'] if by_block else []))
    _check_wrapper(wrapper, where, components, taken, default)
    if wrapper.get('paramwise_cfg') is not None:
        _check_paramwise(dict_at(f'{where}.paramwise_cfg', wrapper['paramwise_cfg']))
    blocks = (wrapper.get('blocks') if by_block else None) or {}
    for index, override in dict_at(f'{where}.blocks', blocks).items():
        path = f'{where}.blocks.{index}'
        if not str(index).isdecimal():
            raise UserError(f'{where}.blocks has the key {index!r}: blocks are numbered from 0')
        override = dict_at(path, override)
        merged = {k: v for k, v in wrapper.items() if k not in taken} | override
        if isinstance(override.get('optimizer'), Mapping):
            merged['optimizer'] = {**wrapper['optimizer'], **override['optimizer']}
        _check_wrapper(merged, path, components, (), default)


def _check_wrapper(
    wrapper: Mapping, where: str, components: Components, taken: tuple, default: str
) -> None:
    components.check(wrapper, where, ('optimizer', *taken), default)
    components.check(wrapper.get('optimizer'), f'{where}.optimizer')
    if wrapper.get('clip_grad') is not None:
        clip = dict_at(f'{where}.clip_grad', wrapper['clip_grad'])
        kind = clip.get('type', 'norm')
        one_of(f'{where}.clip_grad.type', kind, tuple(_CLIPPING))
        check_call(clip, f'{where}.clip_grad', _CLIPPING[kind], ('parameters',), ('type',))


def _check_paramwise(paramwise: Mapping) -> None:
    """mmengine looks known names up and passes over all others."""
    where = 'optim_wrapper.paramwise_cfg'
    check_call(paramwise, where, _paramwise)
    for name, factors in paramwise.get('custom_keys', {}).items():
        path = f'{where}.custom_keys.{name}'
        check_kinds(dict_at(path, factors), path, _factors)


def _paramwise(
    bias_lr_mult: float = 1,
    bias_decay_mult: float = 1,
    norm_decay_mult: float = 1,
    flat_decay_mult: float = 1,
    dwconv_decay_mult: float = 1,
    dcn_offset_lr_mult: float = 1,
    bypass_duplicate: bool = False,
    custom_keys: dict = (),
) -> None:
    """The keys that DefaultOptimWrapperConstructor reads."""


def _factors(lr_mult: float = 1, decay_mult: float = 1) -> None:
    """What it reads of custom_keys, where further keys reach the optimizer."""


def schedulers_of(value: Any, where: str = 'param_scheduler') -> Iterator[tuple[str, Any]]:
    """Every scheduler of ``param_scheduler`` with its path: of one, a list, or these by block."""
    if isinstance(value, (list, tuple)):
        for number, one in enumerate(value):
            yield f'{where}[{number}]', one
    elif (
        isinstance(value, Mapping)
        and 'type' not in value
        and all(isinstance(one, (Mapping, list, tuple)) for one in value.values())
    ):
        for name, one in value.items():
            yield from schedulers_of(one, f'{where}.{name}')
    else:
        yield where, value
