from collections.abc import Callable

from torch import nn

from mman.registry import UNIT_ADAPTERS
from mman.utils import UserError

from ..unit import Unit


def find_adapter(backbone: nn.Module) -> Callable[[nn.Module], list[Unit]]:
    """The adapter registered for the class of ``backbone`` or its nearest base.

    Raises:
        UserError: If there is none; names the class and the known ones.
    """
    for base in type(backbone).__mro__:
        if base.__name__ in UNIT_ADAPTERS:
            return UNIT_ADAPTERS.get(base.__name__)
    known = ', '.join(sorted(UNIT_ADAPTERS.module_dict))
    raise UserError(
        f'no unit adapter for backbone type {type(backbone).__name__!r}: there are adapters for '
        f'{known} and their subclasses; register one in mman.registry.UNIT_ADAPTERS'
    )
