"""mman: supervised local learning with the Momentum Auxiliary Network.

Importing it is cheap, torch is not imported. From then on ``mman::man/...`` names a config of this
package wherever MMEngine takes the name of another package's config.
"""

from mmengine.config.utils import MODULE2PACKAGE

from .utils.before_import import before_import
from .utils.quiet import ignore_upstream_noise
from .utils.torchvision_guard import guard_torchvision
from .version import __version__

# The import name: mmengine finds it whatever the distribution is called.
MODULE2PACKAGE.setdefault('mman', 'mman')
before_import('torchvision', guard_torchvision)
ignore_upstream_noise()

__all__ = ['__version__']
