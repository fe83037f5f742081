from torch import nn

from mman.registry import UNIT_ADAPTERS
from mman.utils import UserError

from ..unit import Unit


@UNIT_ADAPTERS.register_module(name='ConvNeXt')
def convnext_units(backbone: nn.Module) -> list[Unit]:
    """Units of mmpretrain's ConvNeXt (v1 and v2): the stem, then every block.

    The first block of a stage begins with the downsampling before it, and the
    last block ends with the final norm.
    """
    # SparseConvNeXt has no such option; the pass of fake tensors refuses it.
    if getattr(backbone, 'gap_before_final_norm', False):
        raise UserError(
            'model.backbone.gap_before_final_norm=True makes the last feature map a vector: set it '
            "to False, with model.neck=dict(type='GlobalAveragePooling')"
        )
    units = [Unit.of(backbone, 0, 0, 'downsample_layers.0')]
    for i, blocks in enumerate(backbone.stages):
        for index in range(len(blocks)):
            before = [f'downsample_layers.{i}'] if i > 0 and index == 0 else []
            units.append(Unit.of(backbone, i + 1, index, *before, f'stages.{i}.{index}'))
    norm = f'norm{len(backbone.stages) - 1}'
    # Absent where out_indices leave the last stage out.
    if hasattr(backbone, norm):
        units[-1].parts[norm] = getattr(backbone, norm)
    return units
