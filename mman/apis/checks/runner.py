"""Every part of a Runner's config, checked before anything is built."""

import logging
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from mmengine import registry as roots
from mmengine.config import Config
from mmengine.runner.priority import get_priority
from mmengine.runner.utils import set_random_seed
from mmengine.utils.dl_utils import set_multi_processing
from mmpretrain.engine import EMAHook

from mman.utils.errors import UserError
from mman.utils.signature import signature_of

from ..cli import LAUNCHERS
from ..fault_tolerance import FAULT_TOLERANCE_HOOKS, RUNNER_HOOKS
from .components import ConfigCheck, check_finite, check_keys, unknown_key
from .loaders import check_endless, check_loader
from .optimizers import check_optim_wrapper, check_schedulers
from .ranges import check_ranges, check_topk
from .top_level import check_top_level, near_miss

_SPLITS = ('train', 'val', 'test')
_HOOK_NAMES = (
    *RUNNER_HOOKS,
    *FAULT_TOLERANCE_HOOKS,
    'block_log',
    'checkpoint_guard',
    'buffer_sync',
    'class_count',
)
_LOOPS = dict(val='ValLoop', test='TestLoop')


def check_config(cfg: Config) -> None:
    """Refuse what the classes of a config would not take, by name and before data is read.

    Keys are bound to the constructors of the registered classes, values held
    against their annotations, numbers against their ranges. What only building
    shows is left to :mod:`.trial_build`.

    Raises:
        UserError: Names the key, its value and what would be right.
    """
    tree = cfg.to_dict()
    check_top_level(tree)
    check = ConfigCheck(tree.get('default_scope'))
    _check_plain_values(tree)
    if not tree.get('model'):
        raise UserError(f'model={tree.get("model")!r} is missing: a dict with the network')
    check.component(tree['model'], 'model', roots.MODELS)
    if isinstance(tree['model'].get('head'), Mapping):
        check_ranges(tree['model']['head'], 'model.head')
    if tree.get('data_preprocessor') is not None:
        check.component(
            tree['data_preprocessor'],
            'data_preprocessor',
            roots.MODELS,
            default='ClsDataPreprocessor',
        )
    for split in _SPLITS:
        _check_split(tree, split, check)
    if tree.get('optim_wrapper') is not None:
        check_optim_wrapper(tree['optim_wrapper'], check, 'splitter' in tree['model'])
    if tree.get('param_scheduler') is not None:
        check_schedulers(tree['param_scheduler'], check)
    _check_hooks(tree, check)
    _check_surroundings(tree, check)


def check_training(cfg: Config) -> None:
    """Refuse a config that lacks what training needs.

    Raises:
        UserError: Names the key.
    """
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        if cfg.get(key) is None:
            raise UserError(f'{key} is missing: training needs it')


def _check_split(tree: Mapping, split: str, check: ConfigCheck) -> None:
    """The loader, the loop and the evaluator of one split, which go together."""
    keys = [f'{split}_dataloader', f'{split}_cfg']
    keys.append('optim_wrapper' if split == 'train' else f'{split}_evaluator')
    missing = [key for key in keys if tree.get(key) is None]
    if 0 < len(missing) < len(keys):
        raise UserError(
            f'{missing[0]} is missing: {", ".join(keys)} go together, all of them or none'
        )
    if missing:
        return
    check_loader(tree[keys[0]], keys[0], check)
    loop = _check_loop(tree[keys[1]], keys[1], split, check)
    check_endless(tree[keys[0]], keys[0], loop, check)
    if split != 'train':
        _check_evaluator(tree[keys[2]], keys[2], check, tree['model'])


def _check_loop(loop: Mapping, where: str, split: str, check: ConfigCheck) -> Any:
    """Check a loop; its class."""
    given, default, extra = ('runner', 'dataloader', 'evaluator'), _LOOPS.get(split), ()
    if split == 'train' and 'type' not in loop:
        if not isinstance(loop.get('by_epoch'), bool):
            raise UserError(
                f'{where}.by_epoch={loop.get("by_epoch")!r} should be True or False, or '
                f'{where}.type the name of a loop'
            )
        default = 'EpochBasedTrainLoop' if loop['by_epoch'] else 'IterBasedTrainLoop'
        extra = ('by_epoch',)
    check.component(loop, where, roots.LOOPS, given=given, extra=extra, default=default)
    check_ranges(loop, where)
    return check.target(loop, where, roots.LOOPS, default)


def _check_evaluator(value: Any, where: str, check: ConfigCheck, model: Mapping) -> None:
    if isinstance(value, Mapping) and 'metrics' in value:
        check.component(value, where, roots.EVALUATOR, default='Evaluator')
        value, where = value['metrics'], f'{where}.metrics'
    metrics = value if isinstance(value, (list, tuple)) else [value]
    for number, metric in enumerate(metrics):
        path = f'{where}[{number}]' if metrics is value else where
        check.component(metric, path, roots.METRICS)
        if isinstance(metric, Mapping):
            check_topk(metric, path, model)


def _check_hooks(tree: Mapping, check: ConfigCheck) -> None:
    hooks = {f'custom_hooks[{n}]': h for n, h in enumerate(tree.get('custom_hooks') or ())}
    for name, hook in (tree.get('default_hooks') or {}).items():
        if name not in _HOOK_NAMES:
            meant = near_miss(str(name), _HOOK_NAMES)
            if meant is not None:
                raise UserError(
                    f'default_hooks has the unknown key {name!r}: did you mean {meant!r}?'
                )
        if hook is None:
            continue
        hooks[f'default_hooks.{name}'] = hook
    for where, hook in hooks.items():
        check.component(hook, where, roots.HOOKS, extra=('priority',))
        if isinstance(hook, Mapping):
            if str(hook['type']).split('.')[-1] == 'EMAHook':
                _check_average(hook, where, check)
            check_ranges(hook, where)
            _check_priority(hook, where)


def _check_average(hook: Mapping, where: str, check: ConfigCheck) -> None:
    """An EMAHook gives the keys it does not know itself to the class of its ``ema_type``."""
    own = {'type', 'priority', *signature_of(EMAHook).parameters}
    further = {key: value for key, value in hook.items() if key not in own}
    kind = hook.get('ema_type', 'ExponentialMovingAverage')
    check.component({**further, 'type': kind}, where, roots.MODELS, given=('model',))


def _check_priority(hook: Mapping, where: str) -> None:
    try:
        get_priority(hook.get('priority', 'NORMAL'))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UserError(
            f'{where}.priority={hook["priority"]!r} should be an integer from 0 to 100 or a name '
            f'such as NORMAL'
        ) from error


def _check_surroundings(tree: Mapping, check: ConfigCheck) -> None:
    """What is neither network, data nor optimizer."""
    if tree.get('visualizer') is not None:
        given = ('name', 'save_dir')
        check.component(tree['visualizer'], 'visualizer', roots.VISUALIZERS, given=given)
    if tree.get('log_processor') is not None:
        check.component(
            tree['log_processor'], 'log_processor', roots.LOG_PROCESSORS, default='LogProcessor'
        )
        check_ranges(tree['log_processor'], 'log_processor')
    if tree.get('model_wrapper_cfg') is not None:
        check.component(
            tree['model_wrapper_cfg'],
            'model_wrapper_cfg',
            roots.MODEL_WRAPPERS,
            given=('module', 'device_ids'),
            default='MMDistributedDataParallel',
            scoped=False,
        )
    _check_randomness(tree.get('randomness', {}))
    _check_environment(tree.get('env_cfg', {}))
    if tree.get('auto_scale_lr') is not None:
        check_keys(tree['auto_scale_lr'], 'auto_scale_lr', _auto_scale_lr)
        check_ranges(tree['auto_scale_lr'], 'auto_scale_lr')
    if isinstance(tree.get('compile'), Mapping):
        check_keys(tree['compile'], 'compile', torch.compile, given=('model',))


def _check_randomness(randomness: Mapping) -> None:
    for key in randomness:
        if key not in ('seed', 'diff_rank_seed', 'deterministic'):
            names = ['seed', 'diff_rank_seed', 'deterministic']
            raise unknown_key(randomness, 'randomness', key, 'the Runner', names)
    if randomness and 'seed' not in randomness:
        raise UserError('randomness lacks seed: a number, or None for one that is drawn')
    check_keys(randomness, 'randomness', set_random_seed)
    seed = randomness.get('seed')
    if seed is not None and not 0 <= seed < 2**32:
        raise UserError(f'randomness.seed={seed!r} should be from 0 to 2**32 - 1')


def _check_environment(env: Mapping) -> None:
    check_keys(env, 'env_cfg', _env_cfg)
    check_ranges(env, 'env_cfg')
    mp = env.get('mp_cfg', {})
    check_keys(mp, 'env_cfg.mp_cfg', set_multi_processing, given=('distributed',))
    methods = torch.multiprocessing.get_all_start_methods()
    if mp.get('mp_start_method', methods[0]) not in methods:
        raise UserError(
            f'env_cfg.mp_cfg.mp_start_method={mp["mp_start_method"]!r} should be one of '
            f'{", ".join(methods)}'
        )
    check_ranges(mp, 'env_cfg.mp_cfg')
    dist = env.get('dist_cfg', {})
    known = ('backend', 'timeout', 'init_backend', 'init_method', 'world_size', 'rank')
    for key, value in dist.items():
        if key not in known:
            raise unknown_key(dist, 'env_cfg.dist_cfg', key, 'the Runner', list(known))
        check_finite(value, f'env_cfg.dist_cfg.{key}')
    if not isinstance(dist.get('backend', ''), str):
        raise UserError(f'env_cfg.dist_cfg.backend={dist["backend"]!r} should be a string')
    timeout = dist.get('timeout')
    if timeout is not None and (
        not isinstance(timeout, Real) or isinstance(timeout, bool) or not 0 < timeout < 10**9
    ):
        raise UserError(f'env_cfg.dist_cfg.timeout={timeout!r} should be seconds, above 0')


def _check_plain_values(tree: Mapping) -> None:
    level = tree.get('log_level', 'INFO')
    names = logging.getLevelNamesMapping()
    if isinstance(level, str) and level not in names:
        raise UserError(f'log_level={level!r} should be one of {", ".join(names)}')
    if isinstance(level, int) and level < 0:
        raise UserError(f'log_level={level!r} should be from 0 on')
    if tree.get('launcher', 'none') not in LAUNCHERS:
        raise UserError(f'launcher={tree["launcher"]!r} should be one of {", ".join(LAUNCHERS)}')
    scope = tree.get('default_scope')
    if scope is not None and scope != 'mmengine' and roots.MODELS._search_child(scope) is None:
        raise UserError(
            f'default_scope={scope!r} names no package with a registry: it should be mman, '
            'mmpretrain, mmengine, or one that custom_imports brings'
        )
    load_from = tree.get('load_from')
    if load_from is not None and '://' not in load_from and not Path(load_from).is_file():
        raise UserError(f'load_from={load_from!r} does not exist or is not a file')
    if tree.get('sync_bn') not in (None, 'torch', 'mmcv'):
        raise UserError(f"sync_bn={tree['sync_bn']!r} should be 'torch' or 'mmcv'")


def _auto_scale_lr(base_batch_size: int, enable: bool = False) -> None:
    """The keys that Runner.scale_lr reads."""


def _env_cfg(
    cudnn_benchmark: bool = False,
    mp_cfg: dict = MappingProxyType({}),
    dist_cfg: dict = MappingProxyType({}),
    resource_limit: int = 4096,
) -> None:
    """The keys that Runner.setup_env reads."""
