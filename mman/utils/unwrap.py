from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """The model itself, inside a wrapper for several processes or not."""
    return model.module if is_model_wrapper(model) else model
