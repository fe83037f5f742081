"""Running a module on fake tensors: shapes without memory or arithmetic."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from mman.utils import UserError

from .adapters import find_adapter
from .unit import Unit

# BatchNorm needs more than one value per channel.
FAKE_BATCH = 2


@contextmanager
def fake_copy(module: nn.Module) -> Iterator[nn.Module]:
    """A copy of ``module`` whose tensors are fake, in a context where new ones are.

    The module itself is not touched; running it directly with fake inputs
    would change the counters of its BatchNorms.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with FakeCopyMode(mode):
        copied = copy.deepcopy(module)
    with mode:
        yield copied


def shaped_units(
    backbone: nn.Module, units: Sequence[Unit], input_shape: Sequence[int]
) -> list[Unit]:
    """The units with their output shapes, from one fake pass of the backbone.

    Args:
        backbone (nn.Module): Any backbone that returns a tuple of one map.
        units (Sequence[Unit]): Its units, in order.
        input_shape (Sequence[int]): (C, H, W) of one image.

    Raises:
        UserError: If the backbone returns more than its last feature map, or
            the units one after the other give another shape than it does.
    """
    adapter = find_adapter(backbone)
    with fake_copy(backbone) as copied, torch.no_grad():
        images = torch.empty(FAKE_BATCH, *input_shape)
        outputs = copied(images)
        shapes, x = [], images
        for unit in adapter(copied):
            x = unit.module(x)
            shapes.append(tuple(x.shape[1:]))
    name = type(backbone).__name__
    if not isinstance(outputs, tuple) or len(outputs) != 1:
        raise UserError(
            f'{name} should return its last feature map only, as a tuple of one, but returns '
            f'{len(outputs)}: set out_indices to the last stage'
        )
    if outputs[0].shape[1:] != x.shape[1:]:
        raise UserError(
            f'the units of {name} give {tuple(x.shape[1:])} where the backbone gives '
            f'{tuple(outputs[0].shape[1:])}: its unit adapter does not describe its forward'
        )
    return [unit.with_shape(shape) for unit, shape in zip(units, shapes, strict=True)]
