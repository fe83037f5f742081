"""Learning rate and momentum over the iterations of a config, stepped as the Runner does."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.runner import Runner

from mman.registry import PARAM_SCHEDULERS
from mman.utils.build_errors import named_errors
from mman.utils.errors import UserError

from .inspection import loader_config, local_model
from .plots import epochs_on_top, in_style, legend_below, new_figure, save_png
from .tables import write_csv


@dataclass(frozen=True)
class TrainingLength:
    """How long training goes."""

    iterations: int  #: In all.
    epoch_length: int  #: Iterations of an epoch.
    by_epoch: bool  #: Whether the training loop counts epochs.

    @property
    def epochs(self) -> int:
        """In all; a loop over iterations counts as one."""
        return self.iterations // self.epoch_length if self.by_epoch else 1


@dataclass(frozen=True)
class Schedule:
    """Learning rate and momentum of blocks that have them in common."""

    blocks: tuple[int, ...]  #: Numbers of the blocks.
    #: Iterations from 0, where a value changes, and rate and momentum from there on, those of
    #: the first parameter group, as in the log.
    points: list[tuple[int, float, float]]

    @property
    def name(self) -> str:
        """'block 3' or 'blocks 0 - 2, 4'."""
        # Neighbours are as far from their places in the list as each other.
        runs = groupby(enumerate(self.blocks), lambda pair: pair[1] - pair[0])
        spans = [[block for _, block in run] for _, run in runs]
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
        UserError: If one of these is missing or cannot be built, or there are no data to count.
    """
    # The model first: it costs less than the data, if something is wrong.
    model = local_model(cfg).train()
    length = _length(cfg, epoch_length)
    if cfg.get('optim_wrapper') is None:
        raise UserError(f'config {cfg.filename!r} has no optim_wrapper')
    wrappers = build_optim_wrapper(model, _in_float32(cfg.optim_wrapper))
    groups: dict[str, list[int]] = {}
    for k, block in enumerate(model.local_blocks):
        wrapper = wrappers[block.name]
        own = (wrapper.get_lr(), wrapper.get_momentum(), _of_block(cfg, block.name))
        groups.setdefault(repr(own), []).append(k)
    schedules = []
    for blocks in groups.values():
        name = model.local_blocks[blocks[0]].name
        points = _points(wrappers[name], _of_block(cfg, name), length)
        schedules.append(Schedule(tuple(blocks), points))
    return length, schedules


def _length(cfg: Config, epoch_length: int | None) -> TrainingLength:
    train = cfg.get('train_cfg') or {}
    by_epoch = train.get('by_epoch', train.get('type') == 'EpochBasedTrainLoop')
    key = 'max_epochs' if by_epoch else 'max_iters'
    count = train.get(key)
    if not isinstance(count, int) or count < 1:
        raise UserError(f'train_cfg.{key}={count!r} should be an integer from 1 on')
    if epoch_length is None:
        loader = loader_config(cfg, 'train_dataloader', ': give --epoch-length')
        epoch_length = len(Runner.build_dataloader(loader, seed=0))
    return TrainingLength(count * epoch_length if by_epoch else count, epoch_length, by_epoch)


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
            # A loop over iterations ends no epoch before it ends itself.
            ends = length.by_epoch and (start + stride) % length.epoch_length == 0
            for scheduler in each_iteration + (each_epoch if ends else []):
                scheduler.step()
    return points


def _build(scheduler: dict, wrapper: OptimWrapper, length: TrainingLength):
    """A scheduler with the defaults that the Runner gives it."""
    end = length.epochs if scheduler.get('by_epoch', True) else length.iterations
    scheduler = {'end': end, **copy.deepcopy(scheduler)}
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
    if 'Amp' not in str(optim_wrapper.get('type')):
        return optim_wrapper
    kept = {key: v for key, v in optim_wrapper.items() if key not in ('dtype', 'loss_scale')}
    return kept | dict(type='BlockOptimWrapper')


def schedule_text(length: TrainingLength, schedules: Sequence[Schedule]) -> str:
    """The length, and what the schedules are, a line each."""
    text = f'{length.iterations} iterations'
    if length.by_epoch:
        text += f', {length.epochs} epochs of {length.epoch_length}'
    for one in schedules:
        rates = [rate for _, rate, _ in one.points]
        text += (
            f'\n{one.name}: lr {rates[0]:.4g} at first, {max(rates):.4g} at most, '
            f'{rates[-1]:.4g} at last'
        )
    return text


def write_schedules(path: str, schedules: Sequence[Schedule]) -> None:
    """Write a CSV with a line for every block and change, into a new file."""
    rows = (
        dict(block=block, iteration=iteration, lr=rate, momentum=momentum)
        for one in schedules
        for block in one.blocks
        for iteration, rate, momentum in one.points
    )
    write_csv(path, rows)


@in_style
def draw_schedules(
    path: str, length: TrainingLength, schedules: Sequence[Schedule], title: str
) -> None:
    """Write learning rates above, momenta below, over iterations, epochs at the top.

    The picture is a new .png file of 960 x 720 pixels.
    """
    figure = new_figure(8, 6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for one in schedules:
        # The last values hold to the end.
        points = [*one.points, (length.iterations, *one.points[-1][1:])]
        steps, rates, momenta = zip(*points, strict=True)
        for axes, values in ((upper, rates), (lower, momenta)):
            axes.plot(steps, values, drawstyle='steps-post', label=one.name)
    upper.set_ylabel('learning rate')
    upper.set_ylim(bottom=0)
    lower.set(xlabel='iteration', ylabel='momentum', ylim=(0, 1))
    if length.by_epoch:
        epochs_on_top(upper, length.epoch_length)
    legend_below(figure, upper)
    figure.suptitle(title)
    save_png(figure, path)
