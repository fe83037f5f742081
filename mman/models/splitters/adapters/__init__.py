"""How each family of backbones is listed as units.

An adapter is a function ``adapter(backbone) -> list[Unit]`` registered in
``UNIT_ADAPTERS`` under the class name of the backbone it serves; subclasses
inherit it. Applying the units one after the other must give the last feature
map that the backbone returns. Register your own from ``custom_imports``.
"""

from . import (  # noqa: F401
    convnext,
    densenet,
    efficientnet,
    mobilenet_v2,
    resnet,
    swin_transformer,
    vgg,
    vision_transformer,
)
from .find import find_adapter

__all__ = ['find_adapter']
