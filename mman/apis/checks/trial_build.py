"""Building everything but the network and the data, to see that it can be built."""

import copy
import logging
from collections.abc import Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, MODELS, OPTIMIZERS, DefaultScope
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mman.models.classifiers.checks import checked_input_shape
from mman.utils.build_errors import named_errors, short
from mman.utils.errors import UserError
from mman.utils.random_state import unchanged_random_state

from .batches import check_batches
from .lazy_data import lazy_dataset
from .optimizers import schedulers_of

_SPLITS = ('train', 'val', 'test')
# Samples of a data set whose length is not known before it is read.
_SAMPLES = 1000
# Steps of a schedule that are tried.
_STEPS = 1000


def try_parts(cfg: Config) -> None:
    """Build loaders, loops, evaluators, optimizer and schedules, and throw them away.

    Data sets are built without reading them, where their class can
    (``lazy_init``); loaders and loops run over a stand-in. The optimizer steps
    a few times on a parameter of its own, the schedules run. A part that asks
    the stand-in for what it does not have is left untried. Draws no random
    numbers.

    Args:
        cfg (Config): As it is about to be run; not changed.

    Raises:
        UserError: Names the place in the config and what its class says.
    """
    scope = cfg.get('default_scope') or 'mmengine'
    with DefaultScope.overwrite_default_scope(scope), unchanged_random_state():
        loops = {split: _try_split(cfg, split) for split in _SPLITS}
        _try_averages(cfg)
        wrapper = cfg.get('optim_wrapper')
        if wrapper is not None and isinstance(wrapper.get('optimizer'), Mapping):
            _try_optimizers(cfg, loops['train'])


class _StandIn(Dataset):
    """A data set of which only the length is known."""

    metainfo: dict = {}

    def __init__(self, length: int | None):
        self.length = length

    def __len__(self) -> int:
        return self.length or _SAMPLES

    def __getitem__(self, index: int) -> dict:
        raise AttributeError('the stand-in for a data set has no samples')


def _try_split(cfg: Config, split: str) -> Any:
    """Loader, evaluator and loop of one split; the loop, or None."""
    where, loader = f'{split}_dataloader', cfg.get(f'{split}_dataloader')
    if loader is None:
        return None
    dataset, length = lazy_dataset(loader['dataset'], f'{where}.dataset'), None
    if dataset is not None:
        length = dataset.known_length() if hasattr(dataset, 'known_length') else None
        _try_pipeline(dataset, loader['dataset'], f'{where}.dataset', cfg)
    evaluator = cfg.get(f'{split}_evaluator')
    if evaluator is not None:
        with named_errors(evaluator, f'{split}_evaluator'):
            evaluator = Runner.build_evaluator(None, copy.deepcopy(evaluator))
    built = None
    with _untried(), named_errors(loader, where):
        stand_in = dict(copy.deepcopy(loader), dataset=_StandIn(length))
        built = Runner.build_dataloader(stand_in, seed=0)
        if length is not None:
            check_batches(built, where)
    loop = cfg.get(f'{split}_cfg')
    if built is None or loop is None:
        return None
    with _untried(), named_errors(loop, f'{split}_cfg'):
        return _loop(loop, split, built, evaluator)
    return None


def _try_pipeline(dataset: Any, cfg: Mapping, where: str, whole: Config) -> None:
    """The transforms on one black image, where the data set knows the size of its images."""
    shape, size = whole.model.get('input_shape'), getattr(dataset, 'image_shape', None)
    if not size or not shape:
        return
    shape = checked_input_shape(shape)
    image = np.zeros(size, dtype=np.uint8)
    with named_errors(cfg.get('pipeline', []), f'{where}.pipeline'):
        result = dataset.pipeline(dict(img=image, gt_label=0, sample_idx=0))
    if not isinstance(result, Mapping) or 'inputs' not in result:
        raise UserError(
            f"{where}.pipeline should end with dict(type='PackInputs'), which makes a tensor of "
            f'the image, but is {cfg.get("pipeline")!r}'
        )
    found = tuple(result['inputs'].shape)
    if where.startswith('train_') and found != shape:
        raise UserError(
            f'model.input_shape={shape} differs from the images of {where}={short(cfg)}, {found}'
        )


def _try_averages(cfg: Config) -> None:
    """What an EMAHook would make of the model, of a layer."""
    for number, hook in enumerate(cfg.get('custom_hooks') or ()):
        if str(hook['type']).split('.')[-1] == 'EMAHook':
            with named_errors(hook, f'custom_hooks[{number}]'):
                ema = HOOKS.build({k: v for k, v in hook.items() if k != 'priority'}).ema_cfg
                layer = nn.Linear(1, 1)
                MODELS.build(ema, default_args=dict(model=layer)).update_parameters(layer)


def _loop(cfg: Mapping, split: str, loader: DataLoader, evaluator: Evaluator | None) -> Any:
    runner = SimpleNamespace(visualizer=SimpleNamespace(), val_loop=None, seed=0)
    setattr(runner, f'_{split}_dataloader', loader)
    setattr(runner, f'_{split}_evaluator', evaluator)
    return getattr(Runner, f'build_{split}_loop')(runner, cfg)


def _try_optimizers(cfg: Config, loop: Any) -> None:
    """The optimizer of all blocks and those of single ones, with the schedules."""
    wrapper = cfg.optim_wrapper
    places = {'optim_wrapper.optimizer': wrapper.optimizer}
    for index, override in (wrapper.get('blocks') or {}).items():
        if isinstance(override, Mapping) and isinstance(override.get('optimizer'), Mapping):
            own = {**wrapper.optimizer, **override['optimizer']}
            places[f'optim_wrapper.blocks.{index}.optimizer'] = own
    for where, optimizer in places.items():
        with _untried():
            _try_optimizer(optimizer, where, cfg, loop)


def _try_optimizer(cfg: Mapping, where: str, whole: Config, loop: Any) -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    with named_errors(cfg, where):
        built = OPTIMIZERS.build(dict(copy.deepcopy(dict(cfg)), params=[parameter]))
        initial = copy.deepcopy(built.state_dict())
        for _ in range(3):
            parameter.grad = torch.full_like(parameter, 0.5)
            built.step()
    if not parameter.isfinite().all():
        raise UserError(f'{where}={short(cfg)} makes weights that are not finite in three steps')
    built.load_state_dict(initial)
    if whole.get('param_scheduler') is not None:
        _try_schedulers(whole, built, loop)


def _try_schedulers(cfg: Config, optimizer: torch.optim.Optimizer, loop: Any) -> None:
    """Each schedule by itself, through the training or its first steps."""
    for where, scheduler in schedulers_of(cfg.param_scheduler):
        runner = SimpleNamespace(
            _train_loop=loop,
            max_epochs=getattr(loop, 'max_epochs', 1),
            max_iters=getattr(loop, 'max_iters', 1),
            train_dataloader=getattr(loop, 'dataloader', range(_SAMPLES)),
            logger=logging.getLogger(__name__),
        )
        wrapper = OptimWrapper(copy.deepcopy(optimizer))
        with named_errors(scheduler, where):
            (built,) = Runner._build_param_scheduler(runner, scheduler, wrapper)
            # A schedule warns if nothing was stepped before it; there are no gradients to step by.
            wrapper.step()
            steps = min(built.end - built.begin, _STEPS)
            for _ in range(int(steps)):
                built.step()
                _check_values(wrapper, built.param_name, scheduler, where)


def _check_values(wrapper: OptimWrapper, name: str, scheduler: Mapping, where: str) -> None:
    for group in wrapper.optimizer.param_groups:
        if not torch.isfinite(torch.as_tensor(float(group[name]))):
            raise UserError(f'{where}={short(scheduler)} gives {name}={group[name]!r}')


@contextmanager
def _untried():
    """Leave a part untried that asks the stand-ins for what they do not have."""
    try:
        yield
    except UserError as error:
        if not isinstance(error.__cause__, AttributeError) or not _of_stand_in(error.__cause__):
            raise


def _of_stand_in(error: AttributeError) -> bool:
    return isinstance(error.obj, (SimpleNamespace, _StandIn, nn.Parameter)) or 'stand-in' in str(
        error
    )
