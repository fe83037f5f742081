"""What stands at the top level of a config, and what is neither network, data nor optimizer."""

import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS
from mmengine.runner import Runner
from mmengine.runner.checkpoint import (
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)
from mmengine.utils import is_installed
from mmengine.utils.dl_utils import set_multi_processing

from mman.utils.arguments import LAUNCHERS, one_of, should_be
from mman.utils.errors import UserError
from mman.utils.signature import signature_of

from .values import check_call, kind_problem

#: What may stand before ``://`` and the path of a local file.
LOCAL = ('file', 'local')
# Names that mmengine resolves, and packages for other places.
_MODELS = {
    'mmcls': get_mmcls_models,
    'modelzoo': get_torchvision_models,
    'open-mmlab': get_external_models,
    'openmmlab': get_external_models,
    'torchvision': get_torchvision_models,
}
_NEEDED = {'s3': 'petrel_client', 'petrel': 'petrel_client'}
_OLD = {'optimizer': 'optim_wrapper', 'runner': 'train_cfg', 'data': 'train_dataloader'}
_BELONGS = {
    'lr': 'optim_wrapper.optimizer.lr',
    'weight_decay': 'optim_wrapper.optimizer.weight_decay',
    'momentum': 'optim_wrapper.optimizer.momentum',
    'seed': 'randomness.seed',
    'batch_size': 'train_dataloader.batch_size',
    'num_workers': 'train_dataloader.num_workers',
    'max_epochs': 'train_cfg.max_epochs',
    'max_iters': 'train_cfg.max_iters',
}
# A timeout beyond 30 years is a slip.
_LONGEST = 10**9


def check_top_level(tree: Mapping) -> None:
    """Refuse values of the wrong kind, and names that are all but a known one.

    Configs have variables of their own at the top level (``data_root``,
    ``img_norm_cfg``), so an unknown name is right unless it is a known key with
    a letter too many, too few or in the wrong place, as ``optim_warpper``.
    """
    for key, value in tree.items():
        if key in KNOWN:
            wanted = kind_problem(value, KNOWN[key])
            if wanted is not None:
                raise should_be(key, value, wanted)
        elif (meant := near_miss(key, KNOWN)) is not None:
            raise UserError(
                f'the config has the unknown key {key!r}: did you mean {meant!r}? If it is a '
                'variable of your own, give it a name less like it'
            )


def near_miss(key: str, known: Iterable[str]) -> str | None:
    """The known name that ``key`` is a slip of, if any: one letter, or two that changed places."""
    for name in known:
        if sorted(name) == sorted(key) or difflib.SequenceMatcher(None, key, name).ratio() > 0.87:
            return name
    return None


def check_surroundings(tree: Mapping) -> None:
    """What is neither network, data nor optimizer."""
    level, levels = tree.get('log_level', 'INFO'), logging.getLevelNamesMapping()
    if level not in levels and not (isinstance(level, int) and level >= 0):
        raise should_be('log_level', level, f'from 0 on, or of {", ".join(levels)}')
    one_of('launcher', tree.get('launcher', 'none'), LAUNCHERS)
    one_of('sync_bn', tree.get('sync_bn'), (None, 'torch', 'mmcv'))
    scope = tree.get('default_scope')
    if scope not in (None, 'mmengine') and MODELS._search_child(scope) is None:
        raise UserError(
            f'default_scope={scope!r} names no package with a registry: it should be mman, '
            'mmpretrain, mmengine, or one that custom_imports brings'
        )
    if tree.get('load_from') is not None:
        check_load_from(tree['load_from'])
    if 'randomness' in tree:
        check_call(tree['randomness'], 'randomness', Runner.set_randomness, ('self',))
        seed = tree['randomness']['seed']
        if seed is not None and (type(seed) is not int or not 0 <= seed < 2**32):
            raise should_be('randomness.seed', seed, 'an integer from 0 to 2**32 - 1')
    env = tree.get('env_cfg', {})
    check_call(env, 'env_cfg', _env_cfg)
    mp, dist = env.get('mp_cfg', {}), env.get('dist_cfg', {})
    check_call(mp, 'env_cfg.mp_cfg', set_multi_processing, ('distributed',))
    methods = torch.multiprocessing.get_all_start_methods()
    one_of('env_cfg.mp_cfg.mp_start_method', mp.get('mp_start_method', 'fork'), methods)
    check_call(dist, 'env_cfg.dist_cfg', _dist_cfg)
    if (dist.get('timeout') or 0) > _LONGEST:
        raise should_be('env_cfg.dist_cfg.timeout', dist['timeout'], 'seconds')
    if tree.get('auto_scale_lr') is not None:
        check_call(tree['auto_scale_lr'], 'auto_scale_lr', _auto_scale_lr)
    if isinstance(tree.get('compile'), Mapping):
        check_call(tree['compile'], 'compile', torch.compile, ('model',))


def check_load_from(value: str, where: str = 'load_from') -> None:
    """Refuse a checkpoint that is not there, or that nothing here loads."""
    scheme, _, name = value.rpartition('://')
    if scheme in ('', *LOCAL):
        if not Path(name).is_file():
            raise UserError(f'{where}={value!r} does not exist or is not a file')
    elif scheme in _MODELS:
        if name not in (models := _MODELS[scheme]()):
            close = difflib.get_close_matches(name, models, n=3, cutoff=0)
            raise UserError(f'{where}={value!r} is no model of {scheme}, as {", ".join(close)} are')
    elif scheme not in ('http', 'https') and not is_installed(_NEEDED.get(scheme, scheme)):
        raise UserError(f'{where}={value!r} cannot be loaded here: give a local file or a URL')


def unread_keys(tree: Mapping) -> Iterator[str]:
    """Say of names at the top level which nothing reads where their value seems to belong.

    A variable with that value where it belongs was used there. Keys of older configs are
    refused where their successor is missing.
    """
    for old, new in _OLD.items():
        if not isinstance(tree.get(old), Mapping):
            continue
        if tree.get(new) is None:
            raise UserError(f'the config has {old!r}, which nothing reads: it is {new!r} now')
        yield f'nothing reads {old!r}, which was the name of {new!r} in older versions'
    for name, place in _BELONGS.items():
        node: Any = tree
        for key in place.split('.'):
            node = node.get(key) if isinstance(node, Mapping) else None
        if name in tree and tree[name] != node:
            yield f'nothing reads {name}={tree[name]!r}; {place} is {node!r}'


def _further_keys(
    model: dict,
    default_scope: str | None,
    log_level: str | int,
    custom_hooks: list | None,
    custom_imports: dict,
    model_wrapper_cfg: dict | None,
    runner_type: Any,
    compile: bool | dict | None,
    sync_bn: str | None,
    find_unused_parameters: bool | None,
    activation_checkpointing: Any,
    efficient_conv_bn_eval: list | None,
    feature_cache: dict | None,
    image_folder: dict | None,
    memory_budget: dict | None,
    phases: str | dict | list | None,
    pretrained: dict | None,
) -> None:
    """Keys of a config that the Runner's constructor does not have, or not so."""


def _env_cfg(
    cudnn_benchmark: bool = False, mp_cfg: dict = (), dist_cfg: dict = (), resource_limit: int = 1
) -> None:
    """The keys that Runner.setup_env reads."""


def _dist_cfg(
    backend: str = 'nccl',
    timeout: float | None = None,
    init_backend: str = 'torch',
    init_method: str | None = None,
    world_size: int = -1,
    rank: int = -1,
) -> None:
    """The keys that Runner.setup_env and mmengine.dist.init_dist read."""


def _auto_scale_lr(base_batch_size: int, enable: bool = False) -> None:
    """The keys that Runner.scale_lr reads."""


KNOWN = {**signature_of(Runner).parameters, **signature_of(_further_keys).parameters}
KNOWN.pop('cfg')
