from collections.abc import Callable

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mman.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BlockOptimWrapper(OptimWrapper):
    """An OptimWrapper of one of many blocks.

    The stock wrapper reads the norm of clipped gradients back from the device
    at every step and logs it under one name for all; with K blocks that is K
    waits an iteration. This one keeps the tensor for whoever logs.

    Arguments are those of OptimWrapper.

    Attributes:
        grad_norm (Tensor | None): Norm of the block's gradients before the
            last clipping; None without clipping by norm.
        step_guard (Callable | None): Asked before every step whether to take
            it, on reduced gradients that are not clipped yet; FiniteGuardHook
            sets it. Not asked in float16, where the loss scaler decides.
    """

    grad_norm: torch.Tensor | None = None
    step_guard: Callable[[], bool] | None = None

    def step(self, **kwargs) -> None:
        """Clip the gradients and step, unless the guard objects."""
        if self.step_guard is None or self.step_guard():
            super().step(**kwargs)

    def parameters_with_gradients(self) -> list[nn.Parameter]:
        """Those of the block, in the order of the optimizer."""
        groups = self.optimizer.param_groups
        return [p for group in groups for p in group['params'] if p.grad is not None]

    def _clip_grad(self) -> None:
        """Clip the block's gradients together and keep their norm."""
        if params := self.parameters_with_gradients():
            self.grad_norm = self.clip_func(params, **self.clip_grad_kwargs)
