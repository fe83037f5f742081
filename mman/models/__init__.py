# mmpretrain's own components are found by short names once this is imported.
import mmpretrain.models  # noqa: F401

from .aux_heads import *  # noqa: F403
from .backbones import *  # noqa: F403
from .classifiers import *  # noqa: F403
from .data_preprocessors import *  # noqa: F403
from .heads import *  # noqa: F403
from .losses import *  # noqa: F403
from .necks import *  # noqa: F403
from .splitters import *  # noqa: F403
