from collections.abc import Mapping

from mmengine.optim import OptimWrapper
from torch.amp import GradScaler

from mman.utils import UserError

from .loss_scale import grad_scaler_arguments
from .shared_loss_scaler import SCALERS, SharedLossScaler


def share_loss_scaler(wrappers: Mapping[str, OptimWrapper]) -> SharedLossScaler | None:
    """Give blocks that train in float16 one loss scale.

    Args:
        wrappers (Mapping[str, OptimWrapper]): Those of all blocks, by name.

    Returns:
        SharedLossScaler | None: The one they now have; None if none needs any.

    Raises:
        UserError: If some train in float16 and differ from others in what the
            scale depends on. A block that steps more rarely, for one, would
            add up gradients of different scales.
    """
    if not any(getattr(wrapper, 'dtype', None) == 'float16' for wrapper in wrappers.values()):
        return None
    _check_alike(wrappers)
    first = next(iter(wrappers.values()))
    arguments, fixed = grad_scaler_arguments(first.loss_scale)
    scaler = GradScaler(first.device_type, **arguments)
    shared = SCALERS[first.skip](scaler, len(wrappers), fixed)
    for wrapper in wrappers.values():
        wrapper.loss_scaler = shared
    return shared


def _check_alike(wrappers: Mapping[str, OptimWrapper]) -> None:
    """Blocks that share a loss scale differ in nothing that it depends on."""
    (first, expected), *others = ((name, _scaling(w)) for name, w in wrappers.items())
    for name, settings in others:
        for key, value in expected.items():
            if settings[key] != value:
                raise UserError(
                    f'optim_wrapper.{key} is {value!r} in {first} and {settings[key]!r} in {name}: '
                    'in float16 all blocks share one loss scale, and blocks may override the '
                    'optimizer and clip_grad only'
                )


def _scaling(wrapper: OptimWrapper) -> dict:
    """All that the shared loss scale depends on, by config key."""
    return dict(
        type=type(wrapper).__name__,
        dtype=getattr(wrapper, 'dtype', None),
        loss_scale=getattr(wrapper, 'loss_scale', None),
        skip=getattr(wrapper, 'skip', None),
        accumulative_counts=wrapper._accumulative_counts,
    )
