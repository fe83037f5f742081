"""The units of any network whose layers are in a row, found by running it."""

from collections.abc import Iterator, Sequence

from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from mman.utils import UserError
from mman.utils.build_errors import reason
from mman.utils.fake_copy import fake_copy

from ..unit import Unit
from .call_tree import Call, call_tree
from .find import adapter_names


def sequential_units(
    backbone: nn.Module,
    input_shape: Sequence[int],
    stages: Sequence[str] = (),
    channels_last: bool = False,
) -> list[Unit]:
    """Units of a network whose forward calls one module after the other.

    A pass of fake tensors shows which module is given exactly what the one
    before returned. ``nn.Sequential`` and ``stages`` are opened if what they
    call is in a row; anything else is indivisible, a residual block for
    instance. A unit ends before the next layer with kernels, and where tokens or a
    map with the proportions of the image are handed on. The first unit is the
    stem; units of the same module out of ``stages``, or else of the same
    parent, are a stage.

    Args:
        backbone (nn.Module): A backbone that returns a tuple of one tensor.
        input_shape (Sequence[int]): (C, H, W) of images that it takes.
        stages (Sequence[str]): Paths of modules that are stages. Defaults to none.
        channels_last (bool): Whether its maps are (H, W, C). Defaults to False.

    Raises:
        UserError: If the modules are not in a row; names the place.
    """
    groups: list[list[Call]] = []
    for call in _row(backbone, input_shape, stages):
        # What a layer writes into must not be what a head was given as well.
        begins = _has_kernel(call) and not call.writes
        if not groups or (begins and _ends_unit(groups[-1], input_shape, channels_last)):
            groups.append([])
        groups[-1].append(call)
    units: list[Unit] = []
    stage, index, owner = 0, 0, None
    for group in groups:
        found = _owner(group[0].path, stages) if units else None
        stage, index = (stage, index + 1) if units and found == owner else (stage + bool(units), 0)
        owner = found
        parts = {call.path: backbone.get_submodule(call.path) for call in group}
        units.append(Unit(stage, index, parts))
    return units


def _row(backbone: nn.Module, input_shape: Sequence[int], stages: Sequence[str]) -> list[Call]:
    """The calls of a backbone that are in a row, containers opened."""
    name, adapter = type(backbone).__name__, adapter_names(backbone)[0]
    try:
        network = _traced(backbone, input_shape)
    except Exception as error:
        # Whatever a foreign forward raises; the cause is in its own words.
        raise UserError(
            f'{name} does not run on images of {tuple(input_shape)}, by which its layers would be '
            f'found ({reason(error)}); register a unit adapter {adapter!r} in '
            'mman.registry.UNIT_ADAPTERS'
        ) from error
    # A wrapper around one network is not what is cut.
    while network.obstacle is None and len(network.calls) == 1:
        (network,) = network.calls
    if network.obstacle is not None:
        raise UserError(
            f'{name} cannot be cut, because its layers are not in a row: in '
            f'{type(network.module).__name__} {network.obstacle} (a skip, or a step that is no '
            f'module); register a unit adapter {adapter!r} in mman.registry.UNIT_ADAPTERS that '
            'puts such steps into units'
        )
    return list(_opened(network, stages))


def _traced(backbone: nn.Module, input_shape: Sequence[int]) -> Call:
    if any(isinstance(p, FakeTensor) for p in backbone.parameters()):
        return call_tree(backbone, input_shape)
    with fake_copy(backbone) as copied:
        return call_tree(copied, input_shape)


def _opened(call: Call, stages: Sequence[str]) -> Iterator[Call]:
    """The calls of a call that is in a row, containers among them opened."""
    for inner in call.calls:
        if inner.obstacle is None and _is_container(inner, stages):
            yield from _opened(inner, stages)
        else:
            yield inner


def _is_container(call: Call, stages: Sequence[str]) -> bool:
    around = any(stage == call.path or stage.startswith(f'{call.path}.') for stage in stages)
    return around or isinstance(call.module, nn.Sequential)


def _has_kernel(call: Call) -> bool:
    """Whether it has weights beyond the vectors of norms, activations and scales."""
    return any(p.ndim > 1 for p in call.module.parameters())


def _ends_unit(group: Sequence[Call], input_shape: Sequence[int], channels_last: bool) -> bool:
    """Whether there is a layer, and what it hands on can be read by a head."""
    shape = group[-1].shape
    if len(shape) == 3:
        height, width = shape[:2] if channels_last else shape[1:]
        _, image_height, image_width = input_shape
        # Borders may cost two pixels; further off it is a map in another layout.
        off = abs(height * image_width - width * image_height)
        readable = off <= 2 * max(image_height, image_width)
    else:
        readable = len(shape) == 2
    return readable and any(map(_has_kernel, group))


def _owner(path: str, stages: Sequence[str]) -> str:
    """The stage that a module is in, or its parent."""
    parent = path.rpartition('.')[0]
    return next((stage for stage in stages if path.startswith(f'{stage}.')), parent)
