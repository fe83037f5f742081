import torch
from mmengine.dist import get_world_size
from torch.optim import Optimizer

from mman.registry import OPTIM_WRAPPERS
from mman.utils import UserError

from .block_optim_wrapper import BlockOptimWrapper


@OPTIM_WRAPPERS.register_module()
class BackwardStepOptimWrapper(BlockOptimWrapper):
    """Step every parameter within the backward pass, as soon as its gradient is there.

    The gradient is dropped at once, so that those of a whole block are never
    alive together (``torch.Tensor.register_post_accumulate_grad_hook``). Steps
    are the same as after the backward pass, bit for bit. In one process and in
    full precision only.

    Args:
        optimizer (Optimizer): The block's optimizer.
        accumulative_counts (int): 1.
        clip_grad (dict | None): None: a norm needs all gradients.

    Raises:
        UserError: If an argument is another, or there are several processes.
    """

    def __init__(
        self, optimizer: Optimizer, accumulative_counts: int = 1, clip_grad: dict | None = None
    ):
        super().__init__(optimizer, accumulative_counts, clip_grad)
        for key, value, right in (
            ('accumulative_counts', accumulative_counts, 1),
            ('clip_grad', clip_grad, None),
        ):
            if value != right:
                raise UserError(
                    f'optim_wrapper.{key}={value!r} needs all gradients of a block, which '
                    f'BackwardStepOptimWrapper drops one by one: it should be {right}'
                )
        if get_world_size() > 1:
            raise UserError(
                "optim_wrapper.type='BackwardStepOptimWrapper' is for one process: gradients "
                'would step before they are averaged over ranks'
            )
        for group in optimizer.param_groups:
            for p in group['params']:
                if p.requires_grad:
                    p.register_post_accumulate_grad_hook(self._step_one)

    @property
    def step_guard(self) -> None:
        """There is none."""
        return None

    @step_guard.setter
    def step_guard(self, guard: object) -> None:
        raise UserError(
            "default_hooks.finite_guard.policy should be 'stop' with BackwardStepOptimWrapper: "
            'no step waits for the other gradients of its block'
        )

    def step(self, **kwargs) -> None:
        """Nothing is left to do after the backward pass."""

    def zero_grad(self, **kwargs) -> None:
        """Every gradient was dropped when it was stepped on."""

    def _step_one(self, p: torch.nn.Parameter) -> None:
        # Optimizers pass over parameters without gradient, and only this one has any.
        self.optimizer.step()
        p.grad = None
