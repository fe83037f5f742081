"""Counting floating-point operations."""

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class FlopCount(TorchDispatchMode):
    """Floating-point operations of matrix products and convolutions.

    By torch's own formulas, a multiplication and an addition counting two; for
    fake tensors too. Unlike ``torch.utils.flop_counter.FlopCounterMode`` it
    follows no modules, whose hooks keep tensors alive under recomputation.

    Attributes:
        total (int): Operations since the mode is on, backward pass included.
    """

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=out)
        return out
