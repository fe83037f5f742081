# mmpretrain's own components are found by short names once these are imported.
import mmpretrain.engine
import mmpretrain.evaluation
import mmpretrain.visualization  # noqa: F401

from .hooks import *  # noqa: F403
from .loops import *  # noqa: F403
from .optim import *  # noqa: F403
from .schedulers import *  # noqa: F403
from .wrappers import *  # noqa: F403
