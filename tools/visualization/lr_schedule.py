"""Stepping a config's parameter schedulers as the Runner does, without training."""

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn

from mman.registry import PARAM_SCHEDULERS
from mman.utils.errors import UserError


@dataclass(frozen=True)
class Plan:
    """How long training goes.

    Args:
        iterations (int): In all.
        epoch_length (int): Iterations of an epoch.
        by_epoch (bool): Whether the training loop counts epochs.
    """

    iterations: int
    epoch_length: int
    by_epoch: bool


@dataclass(frozen=True)
class Schedule:
    """Learning rate and momentum of blocks that have them in common.

    Values hold from their iteration to the next.

    Args:
        blocks (tuple[int, ...]): Numbers of the blocks.
        iterations (tuple[int, ...]): From 0, where a value changes.
        rates (tuple[float, ...]): Of the first parameter group, as in the log.
        momenta (tuple[float, ...]): Likewise.
    """

    blocks: tuple[int, ...]
    iterations: tuple[int, ...]
    rates: tuple[float, ...]
    momenta: tuple[float, ...]

    @property
    def name(self) -> str:
        """'block 3' or 'blocks 0 - 2, 4'."""
        spans: list[list[int]] = []
        for block in self.blocks:
            if spans and spans[-1][-1] == block - 1:
                spans[-1].append(block)
            else:
                spans.append([block])
        texts = [str(s[0]) if len(s) == 1 else f'{s[0]} - {s[-1]}' for s in spans]
        return f'block{"s" if len(self.blocks) > 1 else ""} {", ".join(texts)}'


def read_plan(cfg: Config, epoch_length: int) -> Plan:
    """How long the config trains.

    Raises:
        UserError: If ``train_cfg`` does not say it.
    """
    train = cfg.get('train_cfg') or {}
    by_epoch = train.get('by_epoch', train.get('type') == 'EpochBasedTrainLoop')
    key = 'max_epochs' if by_epoch else 'max_iters'
    count = train.get(key)
    if not isinstance(count, int) or count < 1:
        raise UserError(f'train_cfg.{key}={count!r} should be an integer from 1 on')
    return Plan(count * epoch_length if by_epoch else count, epoch_length, by_epoch)


def schedules(cfg: Config, model: nn.Module, plan: Plan) -> list[Schedule]:
    """The schedules of all blocks, those alike as one.

    Args:
        cfg (Config): Has ``optim_wrapper`` and maybe ``param_scheduler``.
        model (nn.Module): Its LocalImageClassifier.
        plan (Plan): How long it is trained.

    Raises:
        UserError: If the config has no ``optim_wrapper``, or a scheduler cannot
            be built.
    """
    if cfg.get('optim_wrapper') is None:
        raise UserError(f'config {cfg.filename!r} has no optim_wrapper')
    wrappers = build_optim_wrapper(model, _in_float32(cfg.optim_wrapper))
    groups: dict[str, list[int]] = {}
    for k, block in enumerate(model.local_blocks):
        wrapper = wrappers[block.name]
        own = (wrapper.get_lr(), wrapper.get_momentum(), _of_block(cfg, block.name))
        groups.setdefault(repr(own), []).append(k)
    return [_schedule(cfg, model, wrappers, blocks, plan) for blocks in groups.values()]


def _schedule(
    cfg: Config, model: nn.Module, wrappers: Mapping, blocks: list[int], plan: Plan
) -> Schedule:
    """The schedule of the first of some blocks that are alike."""
    name = model.local_blocks[blocks[0]].name
    points = _points(wrappers[name], _of_block(cfg, name), plan)
    return Schedule(tuple(blocks), *map(tuple, zip(*points, strict=True)))


def _points(
    wrapper: OptimWrapper, configs: list[dict], plan: Plan
) -> list[tuple[int, float, float]]:
    """Iteration, learning rate and momentum wherever one of these changes."""
    points: list[tuple[int, float, float]] = []
    with warnings.catch_warnings():
        # mmengine warns that no optimizer has stepped before them.
        warnings.simplefilter('ignore')
        built = [_build(scheduler, wrapper, plan) for scheduler in configs]
        each_iteration = [scheduler for scheduler in built if not scheduler.by_epoch]
        each_epoch = [scheduler for scheduler in built if scheduler.by_epoch]
        stride = 1 if each_iteration or not plan.by_epoch else plan.epoch_length
        for start in range(0, plan.iterations, stride):
            now = (wrapper.get_lr()['lr'][0], wrapper.get_momentum()['momentum'][0])
            if not points or points[-1][1:] != now:
                points.append((start, *now))
            for scheduler in each_iteration:
                scheduler.step()
            # A loop over iterations ends no epoch before it ends itself.
            if plan.by_epoch and (start + stride) % plan.epoch_length == 0:
                for scheduler in each_epoch:
                    scheduler.step()
    return points


def _build(scheduler: dict, wrapper: OptimWrapper, plan: Plan):
    """A scheduler with the defaults that the Runner gives it."""
    by_epoch = scheduler.get('by_epoch', True)
    # A loop over iterations counts as one epoch.
    epochs = plan.iterations // plan.epoch_length if plan.by_epoch else 1
    scheduler = {'end': epochs if by_epoch else plan.iterations, **copy.deepcopy(scheduler)}
    try:
        return PARAM_SCHEDULERS.build(
            scheduler, default_args=dict(optimizer=wrapper, epoch_length=plan.epoch_length)
        )
    except UserError:
        raise
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        reason = ' '.join(str(error.args[0] if error.args else error).split())
        raise UserError(f'param_scheduler {scheduler} cannot be built: {reason}') from error


def _of_block(cfg: Config, name: str) -> list[dict]:
    """The configs of a block's schedulers; ``param_scheduler`` may give them by block."""
    configs = cfg.get('param_scheduler') or []
    if isinstance(configs, Mapping) and 'type' not in configs:
        if name not in configs:
            raise UserError(f'param_scheduler has no {name!r}; by block, it should have them all')
        configs = configs[name]
    return [configs] if isinstance(configs, Mapping) else list(configs)


def _in_float32(optim_wrapper: dict) -> dict:
    """The optimizer wrapper's config without mixed precision, which needs a GPU."""
    cfg = copy.deepcopy(dict(optim_wrapper))
    if 'Amp' in str(cfg.get('type')):
        cfg['type'] = 'BlockOptimWrapper'
        for key in ('dtype', 'loss_scale'):
            cfg.pop(key, None)
    return cfg
