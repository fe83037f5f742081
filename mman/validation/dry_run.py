"""A built Runner without its data: loaders, loops, optimizer, schedules and images are tried."""

import copy
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from mmengine.evaluator import DumpResults, Evaluator
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, MODELS, OPTIMIZERS
from mmengine.runner import BaseLoop, Runner
from mmpretrain.structures import DataSample
from torch import nn

from mman.engine.hooks import MomentumUpdateHook
from mman.engine.pipeline import sharing_batches
from mman.models.aux_heads import MomentumAuxHead
from mman.utils import should_be
from mman.utils.build_errors import named_errors, short
from mman.utils.errors import UserError, few
from mman.utils.random_state import unchanged_random_state
from mman.utils.unwrap import unwrap

from .config import class_name
from .data import NotRead, Unread, check_batches, lazy_dataset, try_pipeline, warn_of_size
from .optimizers import schedulers_of

# Steps of a schedule that are tried.
_STEPS = 1000
# Mixing needs a pair.
_IMAGES = 2
_KNOWN = ('mman.', 'mmpretrain.', 'mmengine.')
# Beyond what any normalisation makes of 0 to 255; the first convolutions would overflow.
_LARGEST = 1e6


def dry_run(runner: Runner) -> None:
    """Try what only running shows, before data is read.

    Loaders and loops are built over data sets that are not read, where their
    class can do that (``lazy_init``). The optimizer steps a few times on a
    parameter of its own, the schedules run, and images as they would come go
    through the preprocessor. What asks for the data is left untried. Draws no
    random numbers, and does not change the Runner.

    Raises:
        UserError: Names the place in the config and what its class says.
    """
    # Its loops go over data that are not read, so they are no loops of the runner.
    trial, cfg = copy.copy(runner), runner.cfg
    model = unwrap(runner.model)
    with unchanged_random_state():
        datasets = {
            split: _try_split(trial, split, getattr(model, 'input_shape', None))
            for split in ('train', 'val', 'test')
            if cfg.get(f'{split}_dataloader') is not None
        }
        warn_of_size(runner, datasets.get('test'), datasets.get('val'))
        for number, hook in enumerate(cfg.get('custom_hooks') or ()):
            if class_name(hook.get('type')) == 'EMAHook':
                _try_average(hook, f'custom_hooks[{number}]')
        if isinstance((cfg.get('optim_wrapper') or {}).get('optimizer'), Mapping):
            _try_optimizers(trial, cfg.optim_wrapper)
        if hasattr(model, 'input_shape'):
            _try_preprocessor(model, cfg, datasets.get('train'))
    _check_custom_keys(model, cfg.get('optim_wrapper') or {})
    if trial.cfg.get('val_evaluator') is not None:
        _check_monitored(trial, model)
    if sum(isinstance(hook, MomentumUpdateHook) for hook in runner.hooks) > 1:
        raise UserError(
            "custom_hooks has dict(type='MomentumUpdateHook') twice: it would update the momentum "
            'units twice an iteration'
        )
    heads = getattr(model, 'aux_heads', ())
    # A hook of somebody else may do it.
    if any(isinstance(head, MomentumAuxHead) for head in heads) and all(
        type(hook).__module__.startswith(_KNOWN) and not isinstance(hook, MomentumUpdateHook)
        for hook in runner.hooks
    ):
        raise UserError(
            "custom_hooks lacks dict(type='MomentumUpdateHook'): nothing would update the momentum "
            'units of model.aux_head'
        )


def _try_split(trial: Runner, split: str, shape: tuple | None) -> Any:
    """Pipeline, loader, evaluator and loop of one split; its data set, not read."""
    where, cfg, length = f'{split}_dataloader', trial.cfg[f'{split}_dataloader'], None
    dataset = lazy_dataset(cfg.dataset, f'{where}.dataset')
    if dataset is not None:
        length = dataset.known_length() if hasattr(dataset, 'known_length') else None
        try_pipeline(dataset, cfg.dataset, f'{where}.dataset', shape)
    key = f'{split}_evaluator'
    if trial.cfg.get(key) is not None:
        setattr(trial, f'_{key}', _tried(trial.build_evaluator, trial.cfg[key], key))
    with sharing_batches(trial.model) if split == 'train' else nullcontext():
        unread = {**cfg, 'dataset': Unread(length)}
        loader = _tried(trial.build_dataloader, unread, where, trial.seed)
    if loader is not None:
        if length is not None:
            check_batches(loader, where)
        setattr(trial, f'_{where}', loader)
        build, key = getattr(trial, f'build_{split}_loop'), f'{split}_cfg'
        setattr(trial, f'_{split}_loop', _tried(build, trial.cfg[key], key))
    return dataset


def _tried(build: Callable, cfg: Any, where: str, *args: Any) -> Any:
    """What ``build`` makes of a config; None where it asks for data that are not read."""
    with named_errors(cfg, where):
        try:
            return build(copy.deepcopy(cfg), *args)
        except NotRead:
            return None


def _try_average(cfg: Mapping, where: str) -> None:
    """What an EMAHook would make of the model, of a layer."""
    layer = nn.Linear(1, 1)
    with named_errors(cfg, where):
        hook = HOOKS.build({key: value for key, value in cfg.items() if key != 'priority'})
        MODELS.build(hook.ema_cfg, default_args=dict(model=layer)).update_parameters(layer)


def _try_optimizers(trial: Runner, wrapper: Mapping) -> None:
    """The optimizer of all blocks and those of single ones, with the schedules."""
    places = {'optim_wrapper.optimizer': wrapper['optimizer']}
    for index, override in (wrapper.get('blocks') or {}).items():
        merged = {**wrapper['optimizer'], **(override.get('optimizer') or {})}
        places[f'optim_wrapper.blocks.{index}.optimizer'] = merged
    for where, cfg in places.items():
        parameter = nn.Parameter(torch.ones(2, 2))
        with named_errors(cfg, where):
            optimizer = OPTIMIZERS.build({**copy.deepcopy(cfg), 'params': [parameter]})
            for _ in range(3):
                parameter.grad = torch.full_like(parameter, 0.5)
                optimizer.step()
        if not parameter.isfinite().all():
            raise UserError(
                f'{where}={short(cfg)} makes weights that are not finite in three steps'
            )
        if isinstance(trial._train_loop, BaseLoop):
            for scheduler in schedulers_of(trial.cfg.get('param_scheduler') or []):
                _try_scheduler(trial, optimizer, *scheduler)


def _try_scheduler(trial: Runner, optimizer: torch.optim.Optimizer, where: str, cfg: Any) -> None:
    """One schedule by itself, through the training or its first steps."""
    wrapper = OptimWrapper(copy.deepcopy(optimizer))
    with named_errors(cfg, where):
        (built,) = trial._build_param_scheduler(cfg, wrapper)
        # A schedule warns if nothing was stepped before it; there are no gradients to step by.
        wrapper.step()
        for _ in range(min(int(built.end - built.begin), _STEPS)):
            built.step()
            for group in wrapper.optimizer.param_groups:
                value = group[built.param_name]
                if not torch.as_tensor(float(value)).isfinite() or value < 0:
                    raise UserError(f'{where}={short(cfg)} gives {built.param_name}={value!r}')


def _check_custom_keys(model: nn.Module, wrapper: Mapping) -> None:
    """Refuse factors for parameters that there are not."""
    names = [name for name, _ in model.named_parameters()]
    for key in (wrapper.get('paramwise_cfg') or {}).get('custom_keys', {}):
        if not any(key in name for name in names):
            raise UserError(
                f'optim_wrapper.paramwise_cfg.custom_keys has {key!r}, but no parameter has '
                f'that in its name: they are {few(names)}'
            )


def _check_monitored(trial: Runner, model: nn.Module) -> None:
    """Refuse to wait for a metric that the evaluator does not give."""
    wanted = []
    for hook in trial.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            wanted += [('default_hooks.checkpoint.save_best', one) for one in hook.key_indicators]
        if isinstance(hook, EarlyStoppingHook):
            wanted.append(('EarlyStoppingHook.monitor', hook.monitor))
    for where, cfg in schedulers_of(trial.cfg.get('param_scheduler') or []):
        if class_name(cfg.get('type')).startswith('ReduceOnPlateau'):
            wanted.append((f'{where}.monitor', cfg.get('monitor', 'loss')))
    if not wanted:
        return
    found = _metrics(trial._val_evaluator, getattr(getattr(model, 'head', None), 'num_classes', 1))
    for where, name in wanted:
        if found and name not in (*found, 'auto'):
            raise should_be(where, name, f'a metric of val_evaluator: {", ".join(found)}')


def _metrics(evaluator: Evaluator, classes: int) -> list[str]:
    """Names of what an evaluator gives, from one image; none where it takes other samples."""
    sample = DataSample().set_gt_label(0).set_pred_label(0)
    sample.set_pred_score(torch.eye(classes)[0])
    try:
        # A dump would replace its file.
        metrics = [metric for metric in evaluator.metrics if not isinstance(metric, DumpResults)]
        trial = Evaluator(metrics)
        trial.dataset_meta = evaluator.dataset_meta
        trial.process([sample])
        return list(trial.evaluate(1))
    # Metrics of others may need anything.
    except Exception:
        return []


def _try_preprocessor(model: nn.Module, cfg: Mapping, dataset: Any) -> None:
    """Augment and normalise some images as in training.

    They have the size of those in memory where these are augmented, else that of the network.
    """
    where = 'data_preprocessor'
    # The model's own goes first.
    place = f'model.{where}' if cfg.model.get(where) is not None else where
    part = dict(cfg.model.get(where) or cfg.get(where) or {})
    shape = tuple(model.input_shape)
    entering = getattr(dataset, 'input_shape', None) or shape
    images = torch.arange(_IMAGES * torch.Size(entering).numel()).remainder(256)
    batch = dict(
        inputs=images.to(torch.uint8).view(_IMAGES, *entering),
        data_samples=[DataSample().set_gt_label(0) for _ in range(_IMAGES)],
    )
    with named_errors(part, place), torch.no_grad():
        inputs = model.data_preprocessor(batch, True)['inputs']
    found = tuple(inputs.shape[1:])
    if found != shape:
        raise UserError(
            f'model.input_shape={shape} differs from the images {found} that '
            f'{place}={short(part)} makes of those of train_dataloader, {tuple(entering)}'
        )
    largest = inputs.abs().max().item()
    if not largest < _LARGEST:
        raise UserError(f'{place}={short(part)} makes pixels of {largest:g}; they should be near 1')
