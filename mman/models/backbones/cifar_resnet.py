from collections.abc import Sequence

from mmpretrain.models.backbones import ResNet_CIFAR
from mmpretrain.models.backbones.resnet import BasicBlock, ResLayer

from mman.registry import MODELS
from mman.utils import one_of, should_be


@MODELS.register_module()
class CIFARResNet(ResNet_CIFAR):
    """The three-stage ResNet for 32 x 32 images (He et al. 2016, section 4.2).

    A 3 x 3 stem without pooling and three stages of (depth - 2) / 6 basic
    blocks at strides 1, 2, 2. Shortcuts that change shape are projections
    (1 x 1 convolution and BatchNorm), as in the InfoPro and MAN releases.

    Args:
        depth (int): 20, 32, 44, 56 or 110.
        widths (Sequence[int]): Channels of the stem and of the three stages.
            Defaults to (16, 16, 32, 64).
        zero_init_residual (bool): Start the last BatchNorm of every branch at
            zero. Defaults to False, unlike mmpretrain's.
        **kwargs: Further arguments of :class:`mmpretrain.models.ResNet_CIFAR`
            (``in_channels``, ``norm_cfg``, ``frozen_stages``, ...).

    Raises:
        UserError: If ``depth`` or ``widths`` is not one of the above.
    """

    arch_settings = {
        depth: (BasicBlock, ((depth - 2) // 6,) * 3) for depth in (20, 32, 44, 56, 110)
    }

    def __init__(
        self,
        depth: int,
        widths: Sequence[int] = (16, 16, 32, 64),
        zero_init_residual: bool = False,
        **kwargs,
    ):
        one_of('depth', depth, self.arch_settings, self)
        if len(widths) != 4 or not all(type(width) is int and width > 0 for width in widths):
            raise should_be('widths', widths, 'integers above 0: (stem, stage 1, 2, 3)', self)
        self.widths = tuple(widths)
        super().__init__(
            depth,
            stem_channels=widths[0],
            base_channels=widths[1],
            num_stages=3,
            strides=(1, 2, 2),
            dilations=(1, 1, 1),
            out_indices=(2,),
            zero_init_residual=zero_init_residual,
            **kwargs,
        )

    def make_res_layer(self, **kwargs) -> ResLayer:
        """Build the next stage with its width from ``widths``."""
        stage = len(self.res_layers)
        kwargs.update(in_channels=self.widths[stage], out_channels=self.widths[stage + 1])
        return super().make_res_layer(**kwargs)
