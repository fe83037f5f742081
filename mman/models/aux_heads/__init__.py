from .auglocal import AugLocalAuxHead
from .base import AuxHead
from .context import BlockContext, LocalBatch
from .dgl import DGLAuxHead
from .feature_reconstruction import FeatureReconstructionAuxHead
from .head_builder import HeadBuilder
from .infopro import InfoProAuxHead
from .infopro_imagenet import InfoProImageNetAuxHead
from .linear import LinearAuxHead
from .loss_weight import loss_weight, require_loss
from .momentum import MomentumAuxHead
from .predsim import PredSimAuxHead

__all__ = [
    'AugLocalAuxHead',
    'AuxHead',
    'BlockContext',
    'DGLAuxHead',
    'FeatureReconstructionAuxHead',
    'HeadBuilder',
    'InfoProAuxHead',
    'InfoProImageNetAuxHead',
    'LinearAuxHead',
    'LocalBatch',
    'MomentumAuxHead',
    'PredSimAuxHead',
    'loss_weight',
    'require_loss',
]
