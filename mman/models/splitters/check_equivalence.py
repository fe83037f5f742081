"""Making sure that units in a row compute what their backbone does."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from mman.utils import UserError

from .adapters import adapter_names
from .unit import Unit

# Both run the same kernels on the same numbers.
_TOLERANCE = 1e-4


@torch.no_grad()
def check_equivalence(
    backbone: nn.Module, units: Sequence[Unit], input_shape: Sequence[int]
) -> None:
    """Run one image through the backbone and through its units, and compare.

    An adapter serves subclasses too, and one of them may have a forward of its
    own that gives the same shapes. Costs two forward passes of one image;
    changes no state and draws no random numbers.

    Args:
        backbone (nn.Module): A backbone that returns a tuple of one tensor.
        units (Sequence[Unit]): Its units, in order.
        input_shape (Sequence[int]): (C, H, W) of one image.

    Raises:
        UserError: If they differ; names the class.
    """
    first = next(iter(backbone.parameters()), None)
    like = dict() if first is None else dict(device=first.device, dtype=first.dtype)
    image = torch.linspace(-2, 2, torch.Size(input_shape).numel(), **like).view(1, *input_shape)
    with _evaluating(backbone), torch.random.fork_rng(devices=[]):
        expected = backbone(image)[-1]
        found = image
        for unit in units:
            found = unit.module_with_output(found)
    scale = expected.abs().amax().item()
    if not torch.allclose(
        found, expected, rtol=_TOLERANCE, atol=_TOLERANCE * scale, equal_nan=True
    ):
        raise UserError(
            f'the units of {type(backbone).__name__} one after the other give other values than '
            'it does: its forward differs from what the unit adapter describes; register an '
            f'adapter {adapter_names(backbone)[0]!r} in mman.registry.UNIT_ADAPTERS'
        )


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """In eval mode inside, every module's own mode as before outside."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode
