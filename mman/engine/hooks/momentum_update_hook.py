import math
from collections.abc import Sequence
from functools import partial

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mman.models.aux_heads import MomentumAuxHead
from mman.models.classifiers import LocalBlock, LocalImageClassifier
from mman.registry import HOOKS
from mman.utils import UserError, one_of
from mman.utils.unwrap import unwrap

from ..optim import BackwardStepOptimWrapper
from ..pipeline import mesh_of


@HOOKS.register_module()
class MomentumUpdateHook(Hook):
    """Keep the momentum units: ``unit <- m * unit + (1 - m) * source``.

    The source of block k's momentum unit is the first unit of block k + 1; m
    weighs the old value. Parameters are averaged, BatchNorm's affine ones
    included, its running statistics not. A unit whose source rests or did not
    step stays as it is.

    Args:
        decay (float): m. Defaults to 0.995, as MAN.
        timing (str): 'post_step', after the iteration, when all blocks have
            stepped; or 'pre_step', just before the source's own optimizer
            step, as the MAN release does (one iteration behind). Under
            gradient accumulation both happen only when a step does. Defaults
            to 'post_step'.
        end_decay (float | None): If given, m goes from ``decay`` at the start
            of training to this at its end. Defaults to None, constant.
        schedule (str): How it goes there: 'cosine' or 'linear'. Defaults to
            'cosine'.

    Raises:
        UserError: If an argument is none of these, or a decay is outside
            [0, 1).
    """

    def __init__(
        self,
        decay: float = 0.995,
        timing: str = 'post_step',
        end_decay: float | None = None,
        schedule: str = 'cosine',
    ):
        for key, value in (('decay', decay), ('end_decay', end_decay)):
            if value is not None and not 0 <= value < 1:
                raise UserError(
                    f'{key}={value} of MomentumUpdateHook should be from 0 to below 1: it weighs '
                    'the old value, and 1 would never update'
                )
        one_of('timing', timing, ('post_step', 'pre_step'), self)
        one_of('schedule', schedule, ('cosine', 'linear'), self)
        self.decay = decay
        self.timing = timing
        self.end_decay = end_decay
        self.schedule = schedule
        self._pairs: list[tuple[MomentumAuxHead, LocalBlock]] = []
        self._handles: list = []

    def before_train(self, runner: Runner) -> None:
        """Find the momentum heads and start them: weights are there by now."""
        model = unwrap(runner.model)
        if not any(isinstance(head, MomentumAuxHead) for head in model.aux_heads):
            runner.logger.warning('MomentumUpdateHook: the model has no MomentumAuxHead to update')
        self._pairs = []
        for head, block in start_momentum_heads(model):
            if block.index in model.trained_blocks:
                self._pairs.append((head, block))
            else:
                runner.logger.warning(
                    f'MomentumUpdateHook: {block.name} does not train, so the momentum unit of '
                    f'block{head.context.index} stays as it is'
                )
        if mesh_of(runner.model) is not None:
            # The two ends of a pair may be in two processes.
            decay = partial(self.current_decay, runner)
            self._pairs = runner.model.share_momentum(self._pairs, decay, self.timing)
        if self.timing == 'pre_step':
            for head, block in self._pairs:
                wrapper = runner.optim_wrapper[block.name]
                if isinstance(wrapper, BackwardStepOptimWrapper):
                    raise UserError(
                        "timing='pre_step' of MomentumUpdateHook should be 'post_step' with "
                        'BackwardStepOptimWrapper, which steps parameter by parameter'
                    )
                update = partial(self._update, runner, [(head, block)])
                self._handles.append(wrapper.optimizer.register_step_pre_hook(update))

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Update the momentum units whose sources have just stepped."""
        if self.timing == 'post_step':
            active = unwrap(runner.model).active_blocks
            stepped = [
                (head, block)
                for head, block in self._pairs
                if block.index in active and runner.optim_wrapper[block.name].should_update()
            ]
            self._update(runner, stepped)

    def after_train(self, runner: Runner) -> None:
        """Leave the optimizers as they were."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def current_decay(self, runner: Runner) -> float:
        """m at the current iteration."""
        if self.end_decay is None:
            return self.decay
        progress = min(runner.iter / max(runner.max_iters - 1, 1), 1.0)
        if self.schedule == 'cosine':
            progress = (1 - math.cos(math.pi * progress)) / 2
        return self.decay + (self.end_decay - self.decay) * progress

    def _update(
        self, runner: Runner, pairs: Sequence[tuple[MomentumAuxHead, LocalBlock]], *args
    ) -> None:
        """Average these pairs; optimizers add arguments of their own."""
        averages, sources = [], []
        for head, block in pairs:
            averages += list(head.momentum_unit.parameters())
            sources += list(block.first_unit.parameters())
        if averages:
            update_average(averages, sources, self.current_decay(runner))
            torch._foreach_add_([head.num_updates for head, _ in pairs], 1)


def start_momentum_heads(
    model: LocalImageClassifier,
) -> list[tuple[MomentumAuxHead, LocalBlock]]:
    """Start the momentum heads of the blocks that train, see :meth:`MomentumAuxHead.start`.

    These heads are returned, each with the block that its momentum unit follows.
    """
    blocks = model.local_blocks
    pairs = [
        (model.aux_heads[k], blocks[k + 1])
        for k in model.trained_blocks
        if k < len(model.aux_heads) and isinstance(model.aux_heads[k], MomentumAuxHead)
    ]
    for head, block in pairs:
        units = [unit.module for later in blocks[block.index :] for unit in later.units]
        head.start(*units[: head.num_sources])
    return pairs


@torch.no_grad()
def update_average(
    averages: Sequence[torch.Tensor], sources: Sequence[torch.Tensor], decay: float
) -> None:
    """``average <- decay * average + (1 - decay) * source``, in place.

    Two roundings, as the formula has them: lerp or a fused multiply-add would
    differ from the releases in the last bit.
    """
    torch._foreach_mul_(averages, decay)
    torch._foreach_add_(averages, torch._foreach_mul(sources, 1 - decay))
