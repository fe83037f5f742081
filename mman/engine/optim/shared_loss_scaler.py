from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch.amp import GradScaler
from torch.optim import SGD, Optimizer


class SharedLossScaler:
    """One loss scale for all blocks; each block skips its own overflow alone.

    A block whose gradients are not finite does not step, the others do. The
    scale is updated once, when the last block has come: smaller if any block
    overflowed, else larger after enough iterations without. As all blocks
    share it, all must step in the same iterations.

    Whether to step is read back from the device, once per block. Only Adam and
    AdamW with ``fused=True`` decide on the device instead, which saves those K
    waits an iteration.

    Args:
        grad_scaler (GradScaler): The scale and its rule.
        num_blocks (int): Blocks that step before the scale is updated.
        fixed (float | None): The scale for good. Defaults to None, dynamic.
    """

    def __init__(self, grad_scaler: GradScaler, num_blocks: int, fixed: float | None = None):
        self.grad_scaler = grad_scaler
        self.num_blocks = num_blocks
        self.fixed = fixed
        self._arrived = 0

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss times the scale, to be differentiated."""
        return self.grad_scaler.scale(loss)

    def step(self, optimizer: Optimizer, clip: Callable[[], None] | None = None, **kwargs) -> None:
        """Unscale one block's gradients, clip them and step.

        Args:
            optimizer (Optimizer): The block's; once per block and iteration.
            clip (Callable | None): Called on unscaled gradients.
            kwargs: Arguments of ``optimizer.step``.

        Raises:
            RuntimeError: From torch, if the block comes twice before all came.
        """
        self._step(optimizer, clip, kwargs)
        self._arrived += 1
        if self._arrived == self.num_blocks:
            self._arrived = 0
            self._finish()

    def zero_grad(self, optimizer: Optimizer, **kwargs) -> None:
        """Drop one block's gradients."""
        optimizer.zero_grad(**kwargs)

    def state_dict(self) -> dict:
        """State of the GradScaler."""
        return self.grad_scaler.state_dict()

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on with a saved scale, unless the config fixes it."""
        if self.fixed is None:
            self.grad_scaler.load_state_dict(state_dict)

    def _step(self, optimizer: Optimizer, clip: Callable | None, kwargs: dict) -> None:
        if _decides_on_device(optimizer):
            if clip is not None:
                self._unscale(optimizer, clip)
            self.grad_scaler.step(optimizer, **kwargs)
        else:
            self._unscale(optimizer, clip)
            if not self._overflowed([optimizer]):
                optimizer.step(**kwargs)

    def _unscale(self, optimizer: Optimizer, clip: Callable | None) -> None:
        self.grad_scaler.unscale_(optimizer)
        if clip is not None:
            clip()

    def _overflowed(self, optimizers: Iterable[Optimizer]) -> bool:
        """Whether any of them has unscaled gradients that are not finite."""
        # What torch's own step reads; it has no public name.
        found = [
            flag
            for optimizer in optimizers
            for flag in self.grad_scaler._found_inf_per_device(optimizer).values()
        ]
        return bool(torch.stack(found).any())

    def _finish(self) -> None:
        """What is left to do when all blocks have come."""
        self.grad_scaler.update(self.fixed)


class JointLossScaler(SharedLossScaler):
    """A shared loss scale under which all blocks step or none does.

    Every step waits for the last block, and with it the gradients: those of
    all K blocks are alive at once, as in backpropagation, instead of one
    block's. The decision is read back once an iteration.
    """

    def __init__(self, grad_scaler: GradScaler, num_blocks: int, fixed: float | None = None):
        super().__init__(grad_scaler, num_blocks, fixed)
        self._steps: dict[Optimizer, Callable] = {}
        self._zero_grads: list[Callable] = []

    def zero_grad(self, optimizer: Optimizer, **kwargs) -> None:
        """Drop one block's gradients, after its step if that still waits."""
        if optimizer in self._steps:
            self._zero_grads.append(partial(optimizer.zero_grad, **kwargs))
        else:
            super().zero_grad(optimizer, **kwargs)

    def _step(self, optimizer: Optimizer, clip: Callable | None, kwargs: dict) -> None:
        self._unscale(optimizer, clip)
        self._steps[optimizer] = partial(optimizer.step, **kwargs)

    def _finish(self) -> None:
        if not self._overflowed(self._steps):
            for step in self._steps.values():
                step()
        for zero_grad in self._zero_grads:
            zero_grad()
        self._steps.clear()
        self._zero_grads.clear()
        super()._finish()


def _decides_on_device(optimizer: Optimizer) -> bool:
    """Whether the optimizer can be left to skip an overflow itself."""
    # Fused SGD skips too, but if its first step is skipped it goes on with
    # momentum that nobody initialised.
    return getattr(optimizer, '_step_supports_amp_scaling', False) and not isinstance(
        optimizer, SGD
    )


# The values of optim_wrapper.skip
SCALERS = dict(own=SharedLossScaler, together=JointLossScaler)
