"""Loss scaling in float16: what a config says of it, and one scale for all blocks."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import isfinite
from numbers import Integral, Real

import torch
from mmengine.optim import OptimWrapper
from torch.amp import GradScaler
from torch.optim import SGD, Optimizer

from mman.utils import UserError

LossScale = str | float | Mapping[str, float]

# key of GradScaler -> what its value must be, and how that is said
_KEYS = {
    'init_scale': (lambda value: value > 0, 'a number above 0'),
    'growth_factor': (lambda value: value > 1, 'a number above 1'),
    'backoff_factor': (lambda value: 0 < value < 1, 'a number between 0 and 1'),
    'growth_interval': (
        lambda value: isinstance(value, Integral) and value > 0,
        'an integer from 1',
    ),
}


def grad_scaler_arguments(loss_scale: LossScale) -> tuple[dict[str, float], float | None]:
    """Keyword arguments of torch's GradScaler for a ``loss_scale``, and the number if it is one.

    Args:
        loss_scale (str | float | dict): See :class:`BlockAmpOptimWrapper`.

    Raises:
        UserError: If it is none of these or a value is out of range; torch
            itself accepts some that never work.
    """
    if loss_scale == 'dynamic':
        return {}, None
    if _is_number(loss_scale) and loss_scale > 0:
        return dict(init_scale=float(loss_scale)), float(loss_scale)
    where = 'optim_wrapper.loss_scale'
    if not isinstance(loss_scale, Mapping):
        raise UserError(
            f"{where}={loss_scale!r} should be 'dynamic', a number above 0, or a dict of "
            f'{", ".join(_KEYS)}'
        )
    for key, value in loss_scale.items():
        if key not in _KEYS:
            raise UserError(f'{where} has the key {key!r}, but takes {", ".join(_KEYS)}')
        valid, wanted = _KEYS[key]
        if not _is_number(value) or not valid(value):
            raise UserError(f'{where}.{key}={value!r} should be {wanted}')
    return dict(loss_scale), None


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


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
        """Unscale one block's gradients, clip them and step; once per block and iteration.

        Args:
            optimizer (Optimizer): The block's.
            clip (Callable | None): Called on unscaled gradients.
            kwargs: Arguments of ``optimizer.step``.
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
        on_device = _decides_on_device(optimizer)
        if clip is not None or not on_device:
            self._unscale(optimizer, clip)
        if on_device:
            self.grad_scaler.step(optimizer, **kwargs)
        elif not self._overflowed([optimizer]):
            optimizer.step(**kwargs)

    def _unscale(self, optimizer: Optimizer, clip: Callable | None) -> None:
        self.grad_scaler.unscale_(optimizer)
        if clip is not None:
            clip()

    def _overflowed(self, optimizers: Iterable[Optimizer]) -> bool:
        """Whether any of them has unscaled gradients that are not finite."""
        # What torch's own step reads; it has no public name.
        flags = [self.grad_scaler._found_inf_per_device(optimizer) for optimizer in optimizers]
        return bool(torch.stack([flag for found in flags for flag in found.values()]).any())

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


# The values of optim_wrapper.overflow
SCALERS = dict(per_block=SharedLossScaler, all=JointLossScaler)


def share_loss_scaler(wrappers: Mapping[str, OptimWrapper]) -> SharedLossScaler | None:
    """Give blocks that train in float16 one loss scale; returned, None if none needs any.

    Raises:
        UserError: If some train in float16 and differ from others in what the
            scale depends on. A block that steps more rarely, for one, would
            add up gradients of different scales.
    """
    if not any(getattr(wrapper, 'dtype', None) == 'float16' for wrapper in wrappers.values()):
        return None
    (first_name, first), *others = wrappers.items()
    for name, wrapper in others:
        expected, found = _scaling(first), _scaling(wrapper)
        for key in (key for key, value in expected.items() if found[key] != value):
            raise UserError(
                f'optim_wrapper.{key} is {expected[key]!r} in {first_name} and {found[key]!r} in '
                f'{name}: in float16 all blocks share one loss scale, and blocks may override the '
                'optimizer and clip_grad only'
            )
    arguments, fixed = grad_scaler_arguments(first.loss_scale)
    scaler = GradScaler(first.device_type, **arguments)
    shared = SCALERS[first.overflow](scaler, len(wrappers), fixed)
    for wrapper in wrappers.values():
        wrapper.loss_scaler = shared
    return shared


def _scaling(wrapper: OptimWrapper) -> dict:
    """All that the shared loss scale depends on, by config key."""
    return dict(
        type=type(wrapper).__name__,
        dtype=getattr(wrapper, 'dtype', None),
        loss_scale=getattr(wrapper, 'loss_scale', None),
        overflow=getattr(wrapper, 'overflow', None),
        accumulative_counts=wrapper._accumulative_counts,
    )
