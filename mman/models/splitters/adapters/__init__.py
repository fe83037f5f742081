"""How each family of backbones is listed as units.

An adapter is a function ``adapter(backbone) -> list[Unit]`` registered in
``UNIT_ADAPTERS`` under the class name of the backbone it serves; subclasses
inherit it; models of timm and torchvision have names of their own, see
:func:`.find.adapter_names`. Applying the units one after the other must give
the last feature map that the backbone returns. Register your own from
``custom_imports``.
"""

from . import (  # noqa: F401
    convnext,
    densenet,
    inverted_residuals,
    mlp,
    resnet,
    swin_transformer,
    timm,
    timm_vision_transformer,
    torchvision,
    vgg,
    vision_transformer,
)
from .find import adapter_names, find_adapter
from .sequential_units import sequential_units

__all__ = ['adapter_names', 'find_adapter', 'sequential_units']
