"""Units of timm's models, in mmpretrain's TIMMBackbone.

An adapter for one of timm's classes is registered as ``timm.<class name>`` and
takes the TIMMBackbone. Models without one are cut if their layers are in a row.
"""

from torch import nn

from mman.registry import UNIT_ADAPTERS
from mman.utils import UserError

from ..unit import Unit
from .channels_last import with_maps
from .sequential_units import sequential_units


@UNIT_ADAPTERS.register_module(name='TIMMBackbone')
def timm_units(backbone: nn.Module) -> list[Unit]:
    """Units of a timm model whose layers are in a row.

    Modules in timm's ``feature_info`` are stages. Where maps have their
    channels last, units hand on maps (C, H, W) all the same.
    """
    model = backbone.timm_model
    info = getattr(model, 'feature_info', None) or []
    if not isinstance(info, list):
        raise UserError(
            'model.backbone.features_only=True makes TIMMBackbone return a list of maps: leave it '
            'out'
        )
    stages = [f'timm_model.{entry["module"]}' for entry in info]
    channels_last = getattr(model, 'output_fmt', 'NCHW') == 'NHWC'
    units = sequential_units(backbone, _input_shape(model), stages, channels_last)
    return with_maps(units) if channels_last else units


def _input_shape(model: nn.Module) -> tuple[int, int, int]:
    """(C, H, W) of images that a timm model takes."""
    # Here, so that timm is needed only where it is used.
    import timm

    try:
        traits = timm.models.get_model_traits(model)
    except AttributeError as error:
        raise UserError(
            f'timm {timm.__version__} does not tell what images its models take: install 1.0.31 '
            'or later'
        ) from error
    channels, *size = model.pretrained_cfg['input_size']
    return traits.get('in_chans', channels), *(traits.get('img_size') or size)
