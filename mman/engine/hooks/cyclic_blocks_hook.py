import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mman.registry import HOOKS
from mman.utils import UserError, integer_from
from mman.utils.unwrap import unwrap


@HOOKS.register_module()
class CyclicBlocksHook(Hook):
    """Let one block train at a time: each for some iterations, then the next.

    In iteration t, counted from 0, block ``t // iters % K`` trains, of those that
    ``model.train_blocks`` names. Those before it run in the mode that
    ``model.resting_mode`` says, those behind it not at all. Optimizers keep the
    state of all blocks; schedules go by the iterations of all blocks. Gradients may not
    accumulate.

    Args:
        iters (int): Iterations of a block in turn, from 1. Defaults to 1.
    """

    # Before every hook that looks at the blocks of the iteration.
    priority = 'VERY_HIGH'

    def __init__(self, iters: int = 1):
        integer_from(1, 'phases.iters', iters)
        self.iters = iters
        self._told = False

    def before_train(self, runner: Runner) -> None:
        """Refuse what counts iterations of every block."""
        for wrapper in runner.optim_wrapper.values():
            if wrapper._accumulative_counts > 1:
                raise UserError(
                    f'optim_wrapper.accumulative_counts={wrapper._accumulative_counts} counts '
                    "iterations in which a block may rest: leave it out, or phases='cyclic'"
                )

    def before_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Let the block whose turn it is train."""
        model = unwrap(runner.model)
        blocks = model.trained_blocks
        model.activate([blocks[runner.iter // self.iters % len(blocks)]])

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Once every block has stepped, tell what keeping their optimizers' state takes."""
        blocks = unwrap(runner.model).trained_blocks
        if self._told or runner.iter + 1 < self.iters * (len(blocks) - 1) + 1:
            return
        self._told = True
        sizes = [_state_bytes(wrapper.optimizer) for wrapper in runner.optim_wrapper.values()]
        runner.logger.info(
            f"phases='cyclic' keeps the optimizers' state of all {len(blocks)} blocks, "
            f'{sum(sizes) / 2**20:.1f} MiB; of the block that trains it is at most '
            f'{max(sizes) / 2**20:.1f} MiB'
        )

    def after_train(self, runner: Runner) -> None:
        """Leave all blocks active."""
        model = unwrap(runner.model)
        model.activate(model.trained_blocks)


def _state_bytes(optimizer: torch.optim.Optimizer) -> int:
    values = (value for state in optimizer.state.values() for value in state.values())
    return sum(value.nbytes for value in values if isinstance(value, torch.Tensor))
