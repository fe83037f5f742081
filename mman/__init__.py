"""mman: supervised local learning with the Momentum Auxiliary Network."""

from .utils.torchvision_guard import guard_torchvision
from .version import __version__

guard_torchvision()

__all__ = ['__version__']
