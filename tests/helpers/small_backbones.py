"""Members of families whose published ones are too deep for many quick tests."""

from mmpretrain.models.backbones import EfficientNet, MobileNetV2

from mman.registry import MODELS


@MODELS.register_module()
class SmallMobileNetV2(MobileNetV2):
    """Seven inverted residuals; ``out_indices`` should be (3,).

    Of 4 uniform blocks the last does not begin with the wide convolution.
    """

    arch_settings = [[1, 16, 1, 1], [6, 16, 3, 2], [6, 32, 3, 2]]


@MODELS.register_module()
class SmallEfficientNet(EfficientNet):
    """Five inverted residuals; ``out_indices`` should be (4,)."""

    layer_settings = {
        'b': [
            [[3, 8, 0, 2, 0, -1]],
            [[3, 8, 4, 1, 1, 0]],
            [[3, 16, 4, 2, 6, 0], [3, 16, 4, 1, 6, 0]],
            [[5, 24, 4, 2, 6, 0], [5, 24, 4, 1, 6, 0]],
            [[1, 64, 0, 1, 0, -1]],
        ]
    }
