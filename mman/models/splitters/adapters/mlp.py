from torch import nn

from mman.registry import UNIT_ADAPTERS

from ..unit import Unit


@UNIT_ADAPTERS.register_module(name='MLP')
def mlp_units(backbone: nn.Module) -> list[Unit]:
    """Units of an MLP: its layers, the first being the stem, and the dropout before the classifier.

    As a block of its own that last unit, without parameters, leaves the classifier alone.
    """
    stem, *layers = [{f'layers.{i}': layer} for i, layer in enumerate(backbone.layers)]
    parts = [*layers, {'dropout': backbone.dropout}]
    return [Unit(0, 0, stem), *(Unit(1, index, part) for index, part in enumerate(parts))]
