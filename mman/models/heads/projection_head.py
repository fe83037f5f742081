from mmpretrain.models import LinearClsHead
from torch import nn

from mman.registry import MODELS


@MODELS.register_module()
class ProjectionClsHead(LinearClsHead):
    """A linear classifier without bias.

    In Mono-Forward (arXiv 2501.09238) it is the projection matrix of the last
    hidden layer, by which classes are predicted. Arguments are those of
    :class:`mmpretrain.models.LinearClsHead`.
    """

    def __init__(self, num_classes: int, in_channels: int, **kwargs):
        super().__init__(num_classes, in_channels, **kwargs)
        self.fc = nn.Linear(in_channels, num_classes, bias=False)
