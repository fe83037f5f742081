"""What units give, by shape and by value, against their backbone."""

from collections.abc import Sequence

import torch
from torch import nn

from mman.utils import UserError
from mman.utils.build_errors import reason
from mman.utils.fake_copy import FAKE_BATCH, fake_copy

from .adapters import adapter_names, find_adapter
from .adapters.call_tree import in_mode
from .unit import Unit

# Both run the same kernels on the same numbers.
_TOLERANCE = 1e-4


def shaped_units(
    backbone: nn.Module, units: Sequence[Unit], input_shape: Sequence[int]
) -> list[Unit]:
    """The units with their output shapes, from one fake pass of the backbone.

    Raises:
        UserError: If the backbone cannot be run on images (C, H, W) of ``input_shape``,
            returns more than its last feature map, or the units one after the other give
            another shape than it does.
    """
    name = type(backbone).__name__
    try:
        output_shapes, shapes = _fake_pass(backbone, input_shape)
    except Exception as error:
        # Whatever a foreign forward raises; the cause is in its own words.
        raise UserError(
            f'{name} does not run on images of model.input_shape={tuple(input_shape)}, whole or '
            f'unit by unit, and so cannot be cut: {reason(error)}'
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


@torch.no_grad()
def check_equivalence(
    backbone: nn.Module, units: Sequence[Unit], input_shape: Sequence[int]
) -> None:
    """Run one image through the backbone and through its units, and compare.

    An adapter serves subclasses too, and one of them may have a forward of its
    own that gives the same shapes. Changes no state and draws no random numbers.

    Raises:
        UserError: If they differ; names the class.
    """
    first = next(iter(backbone.parameters()), None)
    like = dict() if first is None else dict(device=first.device, dtype=first.dtype)
    image = torch.linspace(-2, 2, torch.Size(input_shape).numel(), **like).view(1, *input_shape)
    with in_mode(backbone, False), torch.random.fork_rng(devices=[]):
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
