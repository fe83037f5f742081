from .auglocal import AugLocalAuxHead
from .base import AuxHead
from .context import BlockContext, LocalBatch
from .dgl import DGLAuxHead
from .feature_reconstruction import FeatureReconstructionAuxHead
from .infopro import InfoProAuxHead, InfoProImageNetAuxHead
from .linear import LinearAuxHead
from .loss_weight import loss_weight, loss_weights
from .momentum import MomentumAuxHead
from .predsim import PredSimAuxHead

__all__ = [
    'AugLocalAuxHead',
    'AuxHead',
    'BlockContext',
    'DGLAuxHead',
    'FeatureReconstructionAuxHead',
    'InfoProAuxHead',
    'InfoProImageNetAuxHead',
    'LinearAuxHead',
    'LocalBatch',
    'MomentumAuxHead',
    'PredSimAuxHead',
    'loss_weight',
    'loss_weights',
]
