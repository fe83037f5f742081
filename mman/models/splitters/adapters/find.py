from collections.abc import Callable

from torch import nn

from mman.registry import UNIT_ADAPTERS
from mman.utils import UserError

from ..unit import Unit


def find_adapter(backbone: nn.Module) -> Callable[[nn.Module], list[Unit]]:
    """The adapter registered for ``backbone``, see :func:`adapter_names`.

    Raises:
        UserError: If there is none; names the class and the known ones.
    """
    for name in adapter_names(backbone):
        # Asked for a name with a dot, the registry itself would look for a scope.
        if name in UNIT_ADAPTERS.module_dict:
            return UNIT_ADAPTERS.module_dict[name]
    known = ', '.join(sorted(UNIT_ADAPTERS.module_dict))
    raise UserError(
        f'no unit adapter for backbone type {type(backbone).__name__!r}: there are adapters for '
        f'{known} and their subclasses; register one in mman.registry.UNIT_ADAPTERS'
    )


def adapter_names(backbone: nn.Module) -> list[str]:
    """Names under which an adapter may be registered, the most special first.

    They are ``timm.<class name>`` or ``torchvision.<class name>`` of the model in a backbone of
    these, then the name of the backbone's own class; and behind each those of its bases.
    """
    names = [base.__name__ for base in type(backbone).__mro__]
    if hasattr(backbone, 'timm_model'):
        kinds = type(backbone.timm_model).__mro__
        return [*(f'timm.{base.__name__}' for base in kinds), *names]
    if hasattr(backbone, 'torchvision_class'):
        kinds = backbone.torchvision_class.__mro__
        return [*(f'torchvision.{base.__name__}' for base in kinds), *names]
    return names
