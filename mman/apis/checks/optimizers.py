"""The keys of optimizers and schedules."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

from mmengine import registry as roots
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from mman.utils.errors import UserError

from .components import ConfigCheck, check_finite, check_keys, unknown_key
from .ranges import check_ranges

_PARAMWISE = (
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'flat_decay_mult',
    'dwconv_decay_mult',
    'dcn_offset_lr_mult',
)
_CLIPPING = dict(norm=clip_grad_norm_, value=clip_grad_value_)
_BLOCKS = 'BlockOptimWrapperConstructor'
_CONSTRUCTORS = (None, 'DefaultOptimWrapperConstructor', _BLOCKS, f'mman.{_BLOCKS}')


def check_optim_wrapper(wrapper: Mapping, check: ConfigCheck, local: bool) -> None:
    """Check an optimizer wrapper with its optimizer.

    Those of a constructor that is neither mmengine's nor this package's are
    left to it.

    Args:
        wrapper (Mapping): ``optim_wrapper`` of the config.
        check (ConfigCheck): With the default scope.
        local (bool): Whether the model is cut into local blocks.

    Raises:
        UserError: Names the key.
    """
    where, constructor = 'optim_wrapper', wrapper.get('constructor')
    if constructor is not None:
        if not isinstance(constructor, str):
            raise UserError(f'{where}.constructor={constructor!r} should be the name of a class')
        check.component(
            dict(type=constructor),
            f'{where}.constructor',
            roots.OPTIM_WRAPPER_CONSTRUCTORS,
            given=('optim_wrapper_cfg', 'paramwise_cfg'),
        )
    if constructor not in _CONSTRUCTORS:
        return
    if local and constructor not in _CONSTRUCTORS[2:]:
        raise UserError(
            f'{where}.constructor={constructor!r} should be {_BLOCKS!r}: every local block needs '
            'an optimizer'
        )
    local = constructor in _CONSTRUCTORS[2:]
    default = 'BlockOptimWrapper' if local else 'OptimWrapper'
    extra = ('constructor', 'paramwise_cfg', *(('blocks',) if local else ()))
    _check_wrapper(wrapper, where, check, default, extra)
    _check_paramwise(wrapper.get('paramwise_cfg'), f'{where}.paramwise_cfg')
    blocks = wrapper.get('blocks')
    if local and blocks is not None:
        _check_blocks(wrapper, blocks, check, default, extra)


def _check_wrapper(
    wrapper: Mapping, where: str, check: ConfigCheck, default: str, extra: tuple[str, ...]
) -> None:
    if not isinstance(wrapper.get('optimizer'), Mapping):
        raise UserError(
            f'{where}.optimizer={wrapper.get("optimizer")!r} should be a dict with the key type'
        )
    rest = {k: v for k, v in wrapper.items() if k != 'optimizer'}
    check.component(
        rest, where, roots.OPTIM_WRAPPERS, given=('optimizer',), extra=extra, default=default
    )
    check_ranges(wrapper, where)
    optimizer = wrapper['optimizer']
    check.component(optimizer, f'{where}.optimizer', roots.OPTIMIZERS, given=('params',))
    _check_numbers(optimizer, f'{where}.optimizer')
    if wrapper.get('clip_grad') is not None:
        _check_clipping(wrapper['clip_grad'], f'{where}.clip_grad')


def _check_numbers(optimizer: Mapping, where: str) -> None:
    for key in ('lr', 'weight_decay', 'momentum', 'eps'):
        value = optimizer.get(key)
        if isinstance(value, Real) and not isinstance(value, bool) and value < 0:
            raise UserError(f'{where}.{key}={value!r} should be a number from 0 on')


def _check_clipping(clip: Any, where: str) -> None:
    if not isinstance(clip, Mapping):
        raise UserError(f'{where}={clip!r} should be None or a dict such as dict(max_norm=1.0)')
    kind = clip.get('type', 'norm')
    if kind not in ('norm', 'value'):
        raise UserError(f"{where}.type={kind!r} should be 'norm' or 'value'")
    check_keys(clip, where, _CLIPPING[kind], given=('parameters',), extra=('type',))
    for key in ('max_norm', 'clip_value'):
        value = clip.get(key, 1)
        if not isinstance(value, Real) or isinstance(value, bool) or not value > 0:
            raise UserError(f'{where}.{key}={value!r} should be a number above 0')


def _check_paramwise(paramwise: Any, where: str) -> None:
    """mmengine looks known names up and passes over all others."""
    if paramwise is None:
        return
    if not isinstance(paramwise, Mapping):
        raise UserError(f'{where}={paramwise!r} should be None or a dict')
    known = [*_PARAMWISE, 'bypass_duplicate', 'custom_keys']
    for key, value in paramwise.items():
        if key not in known:
            raise unknown_key(paramwise, where, key, 'the constructor', known)
        if key in _PARAMWISE:
            _check_factor(value, f'{where}.{key}')
    if not isinstance(paramwise.get('bypass_duplicate', False), bool):
        raise UserError(
            f'{where}.bypass_duplicate={paramwise["bypass_duplicate"]!r} should be True or False'
        )
    custom = paramwise.get('custom_keys', {})
    if not isinstance(custom, Mapping):
        raise UserError(f'{where}.custom_keys={custom!r} should be a dict of dicts')
    for name, factors in custom.items():
        path = f'{where}.custom_keys.{name}'
        if not isinstance(factors, Mapping):
            raise UserError(f'{path}={factors!r} should be a dict such as dict(lr_mult=0.1)')
        for key, value in factors.items():
            check_finite(value, f'{path}.{key}')
            if key in ('lr_mult', 'decay_mult'):
                _check_factor(value, f'{path}.{key}')


def _check_factor(value: Any, where: str) -> None:
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= value < float('inf'):
        raise UserError(f'{where}={value!r} should be a number from 0 on')


def _check_blocks(
    wrapper: Mapping, blocks: Any, check: ConfigCheck, default: str, extra: tuple[str, ...]
) -> None:
    if not isinstance(blocks, Mapping):
        raise UserError(
            f'optim_wrapper.blocks={blocks!r} should be a dict such as '
            '{0: dict(optimizer=dict(lr=0.01))}'
        )
    for index, override in blocks.items():
        where = f'optim_wrapper.blocks.{index}'
        if not str(index).isdecimal():
            raise UserError(
                f'optim_wrapper.blocks has the key {index!r}: blocks are numbered from 0'
            )
        if not isinstance(override, Mapping):
            raise UserError(f'{where}={override!r} should be a dict of what differs')
        merged = {k: v for k, v in wrapper.items() if k not in extra} | dict(override)
        if isinstance(override.get('optimizer'), Mapping):
            merged['optimizer'] = {**wrapper['optimizer'], **override['optimizer']}
        _check_wrapper(merged, where, check, default, ())


def check_schedulers(value: Any, check: ConfigCheck) -> None:
    """Check ``param_scheduler``: one, a list, or these by the name of a block.

    Args:
        value (Any): ``param_scheduler`` of the config.
        check (ConfigCheck): With the default scope.

    Raises:
        UserError: Names the key.
    """
    if not value:
        raise UserError(f'param_scheduler={value!r} is empty: leave it out, or set it to None')
    for where, scheduler in schedulers_of(value):
        check.component(
            scheduler,
            where,
            roots.PARAM_SCHEDULERS,
            given=('optimizer',),
            extra=('convert_to_iter_based', 'end', 'epoch_length'),
        )
        if not isinstance(scheduler, Mapping):
            continue
        converted = scheduler.get('convert_to_iter_based', False)
        if not isinstance(converted, bool):
            raise UserError(f'{where}.convert_to_iter_based={converted!r} should be True or False')
        end = scheduler.get('end', 1)
        if not isinstance(end, int) or isinstance(end, bool) or end < 1:
            raise UserError(f'{where}.end={end!r} should be an integer from 1 on')
        check_ranges(scheduler, where)


def schedulers_of(value: Any, where: str = 'param_scheduler') -> list[tuple[str, Any]]:
    """Every scheduler of ``param_scheduler`` with its path."""
    if isinstance(value, (list, tuple)):
        return [(f'{where}[{number}]', one) for number, one in enumerate(value)]
    if isinstance(value, Mapping) and 'type' not in value and _is_by_name(value):
        return [
            pair for name, one in value.items() for pair in schedulers_of(one, f'{where}.{name}')
        ]
    return [(where, value)]


def _is_by_name(value: Mapping) -> bool:
    return all(isinstance(one, (Mapping, list, tuple)) for one in value.values())
