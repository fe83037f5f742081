"""Learning rate and momentum over the iterations of a config, stepped as the Runner does."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

from matplotlib.axes import Axes
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.runner import Runner
from torch import nn

from mman.apis.config import set_loader_defaults
from mman.apis.inspection import local_model
from mman.registry import PARAM_SCHEDULERS, register_all_modules
from mman.utils.build_errors import named_errors
from mman.utils.errors import UserError

from .plots import LINES, legend_below, new_figure, save_png
from .tables import write_csv


@dataclass(frozen=True)
class TrainingLength:
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


def read_schedules(
    cfg: Config, epoch_length: int | None = None
) -> tuple[TrainingLength, list[Schedule]]:
    """How long a config trains, and the schedules of all blocks, those alike as one.

    Args:
        cfg (Config): Config of a LocalImageClassifier with ``train_cfg``,
            ``optim_wrapper`` and maybe ``param_scheduler``.
        epoch_length (int | None): Iterations of an epoch. Defaults to None,
            counted in the training set for one process.

    Raises:
        UserError: If one of these is missing or cannot be built, or there are
            no data to count.
    """
    # The model first: it costs less than the data, if something is wrong.
    model = local_model(cfg).train()
    length = training_length(cfg, epoch_length or _counted_length(cfg))
    return length, block_schedules(cfg, model, length)


def training_length(cfg: Config, epoch_length: int) -> TrainingLength:
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
    return TrainingLength(count * epoch_length if by_epoch else count, epoch_length, by_epoch)


def block_schedules(cfg: Config, model: nn.Module, length: TrainingLength) -> list[Schedule]:
    """The schedules of all blocks, those alike as one.

    Args:
        cfg (Config): Has ``optim_wrapper`` and maybe ``param_scheduler``.
        model (nn.Module): Its LocalImageClassifier.
        length (TrainingLength): How long it is trained.

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
    return [_schedule(cfg, model, wrappers, blocks, length) for blocks in groups.values()]


def _schedule(
    cfg: Config, model: nn.Module, wrappers: Mapping, blocks: list[int], length: TrainingLength
) -> Schedule:
    """The schedule of the first of some blocks that are alike."""
    name = model.local_blocks[blocks[0]].name
    points = _points(wrappers[name], _of_block(cfg, name), length)
    return Schedule(tuple(blocks), *map(tuple, zip(*points, strict=True)))


def _points(
    wrapper: OptimWrapper, configs: list[dict], length: TrainingLength
) -> list[tuple[int, float, float]]:
    """Iteration, learning rate and momentum wherever one of these changes."""
    points: list[tuple[int, float, float]] = []
    with warnings.catch_warnings():
        # mmengine warns that no optimizer has stepped before them.
        warnings.simplefilter('ignore')
        built = [_build(scheduler, wrapper, length) for scheduler in configs]
        each_iteration = [scheduler for scheduler in built if not scheduler.by_epoch]
        each_epoch = [scheduler for scheduler in built if scheduler.by_epoch]
        stride = 1 if each_iteration or not length.by_epoch else length.epoch_length
        for start in range(0, length.iterations, stride):
            now = (wrapper.get_lr()['lr'][0], wrapper.get_momentum()['momentum'][0])
            if not points or points[-1][1:] != now:
                points.append((start, *now))
            for scheduler in each_iteration:
                scheduler.step()
            # A loop over iterations ends no epoch before it ends itself.
            if length.by_epoch and (start + stride) % length.epoch_length == 0:
                for scheduler in each_epoch:
                    scheduler.step()
    return points


def _build(scheduler: dict, wrapper: OptimWrapper, length: TrainingLength):
    """A scheduler with the defaults that the Runner gives it."""
    by_epoch = scheduler.get('by_epoch', True)
    # A loop over iterations counts as one epoch.
    epochs = length.iterations // length.epoch_length if length.by_epoch else 1
    scheduler = {'end': epochs if by_epoch else length.iterations, **copy.deepcopy(scheduler)}
    with named_errors(scheduler, 'param_scheduler'):
        return PARAM_SCHEDULERS.build(
            scheduler, default_args=dict(optimizer=wrapper, epoch_length=length.epoch_length)
        )


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


def _counted_length(cfg: Config) -> int:
    """Iterations of an epoch in one process."""
    if cfg.get('train_dataloader') is None:
        raise UserError(f'config {cfg.filename!r} has no train_dataloader: give --epoch-length')
    register_all_modules()
    set_loader_defaults(cfg)
    return len(Runner.build_dataloader(cfg.train_dataloader, seed=0))


def schedule_text(length: TrainingLength, schedules: Sequence[Schedule]) -> str:
    """The length, and what the schedules are, a line each."""
    text = f'{length.iterations} iterations'
    if length.by_epoch:
        epochs = length.iterations // length.epoch_length
        text += f', {epochs} epochs of {length.epoch_length}'
    lines = [
        f'{one.name}: lr {one.rates[0]:.4g} at first, {max(one.rates):.4g} at most, '
        f'{one.rates[-1]:.4g} at last'
        for one in schedules
    ]
    return '\n'.join([text, *lines])


def write_schedules(path: str, schedules: Sequence[Schedule]) -> None:
    """Write a CSV with a line for every block and change, into a new file."""
    fields = ('block', 'iteration', 'lr', 'momentum')
    lines = [
        dict(zip(fields, (block, *point), strict=True))
        for one in schedules
        for block in one.blocks
        for point in zip(one.iterations, one.rates, one.momenta, strict=True)
    ]
    write_csv(path, fields, lines)


def draw_schedules(
    path: str, length: TrainingLength, schedules: Sequence[Schedule], title: str
) -> None:
    """Write learning rates above, momenta below, over iterations, epochs at the top.

    Args:
        path (str): A new .png file, 960 x 720 pixels.
        length (TrainingLength): How long training goes.
        schedules (Sequence[Schedule]): The schedules, a line for each.
        title (str): Above the whole.
    """
    figure = new_figure(8, 6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _draw(upper, schedules, [one.rates for one in schedules], length)
    _draw(lower, schedules, [one.momenta for one in schedules], length)
    upper.set_ylabel('learning rate')
    upper.set_ylim(bottom=0)
    lower.set_ylabel('momentum')
    lower.set_ylim(0, 1)
    lower.set_xlabel('iteration')
    if length.by_epoch:
        size = length.epoch_length
        top = upper.secondary_xaxis('top', (lambda x: x / size, lambda x: x * size))
        top.set_xlabel('epoch')
    legend_below(figure, upper)
    figure.suptitle(title)
    save_png(figure, path)


def _draw(
    axes: Axes, schedules: Sequence[Schedule], values: Sequence[tuple], length: TrainingLength
) -> None:
    for schedule, line, style in zip(schedules, values, cycle(LINES), strict=False):
        # The last value holds to the end.
        steps = [*schedule.iterations, length.iterations]
        axes.plot(steps, [*line, line[-1]], drawstyle='steps-post', label=schedule.name, **style)
