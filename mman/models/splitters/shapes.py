"""Shapes of what units give, from one pass of fake tensors."""

from collections.abc import Sequence

import torch
from torch import nn

from mman.utils import UserError
from mman.utils.fake_copy import FAKE_BATCH, fake_copy

from .adapters import find_adapter
from .unit import Unit


def shaped_units(
    backbone: nn.Module, units: Sequence[Unit], input_shape: Sequence[int]
) -> list[Unit]:
    """The units with their output shapes, from one fake pass of the backbone.

    Args:
        backbone (nn.Module): Any backbone that returns a tuple of one tensor.
        units (Sequence[Unit]): Its units, in order.
        input_shape (Sequence[int]): (C, H, W) of one image.

    Raises:
        UserError: If the backbone cannot be run on such images, returns more
            than its last feature map, or the units one after the other give
            another shape than it does.
    """
    name = type(backbone).__name__
    try:
        output_shapes, shapes = _fake_pass(backbone, input_shape)
    except Exception as error:
        # Whatever a foreign forward raises; the cause is in its own words.
        cause = str(error).strip().split('\n')[0]
        raise UserError(
            f'{name} does not run on images of model.input_shape={tuple(input_shape)}, whole or '
            f'unit by unit, and so cannot be cut ({type(error).__name__}: {cause})'
        ) from error
    if len(output_shapes) != 1:
        raise UserError(
            f'{name} should return its last feature map only, as a tuple of one, but returns '
            f'{len(output_shapes)}: set out_indices to the last stage'
        )
    *shapes, final = shapes
    if output_shapes[0] != final:
        raise UserError(
            f'the units of {name} give {final} where the backbone gives {output_shapes[0]}: '
            'set out_indices to the last stage; if it is, the unit adapter does not describe its '
            'forward'
        )
    return [unit.with_shape(shape, final) for unit, shape in zip(units, shapes, strict=True)]


def _fake_pass(
    backbone: nn.Module, input_shape: Sequence[int]
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Shapes of what the backbone returns; of every unit's output, and the last's whole."""
    with fake_copy(backbone) as copied, torch.no_grad():
        images = torch.empty(FAKE_BATCH, *input_shape)
        outputs = copied(images)
        shapes, x = [], images
        for unit in find_adapter(backbone)(copied):
            x = unit.module(x)
            shapes.append(tuple(x.shape[1:]))
        if unit.output is not None:
            x = unit.output.module(x)
        shapes.append(tuple(x.shape[1:]))
    if not isinstance(outputs, tuple):
        raise TypeError('it returns no tuple of one feature map')
    return [tuple(output.shape[1:]) for output in outputs], shapes
