"""Counting floating-point operations, and operations that a device is given."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import (
    flop_registry,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)


def _attention(q, k, v, *args, **kwargs) -> int:
    return sdpa_flop_count(q.shape, k.shape, v.shape)


def _attention_backward(grad, q, k, v, *args, **kwargs) -> int:
    return sdpa_backward_flop_count(grad.shape, q.shape, k.shape, v.shape)


# torch has formulas for the attention of every device but this one.
_FORMULAS = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


# They give room, another look at a tensor or a type, and compute nothing.
_NO_WORK = {'empty', 'empty_like', 'empty_strided', 'new_empty', 'new_empty_strided'}
_NO_WORK |= {'_unsafe_view', 'promote_types'}


def multiply_adds(flops: int) -> int:
    """Multiplications, each with its addition: half of the floating-point operations.

    What all tables, pictures and files show, as metafiles of OpenMMLab do under
    the key FLOPs.
    """
    return flops // 2


class FlopCount(TorchDispatchMode):
    """Floating-point operations of matrix products, convolutions and attention.

    By torch's own formulas, a multiplication and an addition counting two; for
    fake tensors too. Unlike ``torch.utils.flop_counter.FlopCounterMode`` it
    follows no modules, whose hooks keep tensors alive under recomputation.

    Attributes:
        total (int): Operations since the mode is on, backward pass included.
    """

    def __init__(self):
        super().__init__()
        self.total = 0

    @property
    def multiply_adds(self) -> int:
        """As :func:`multiply_adds` of the total."""
        return multiply_adds(self.total)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = _FORMULAS.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=out)
        return out


class OperationCount(TorchDispatchMode):
    """Operations of torch that compute something, of backward pass and optimizers too.

    Views and allocations are left out. On a GPU an operation launches one kernel
    or a few, which is what the time of small batches is bound by.

    Attributes:
        total (int): Operations since the mode is on.
    """

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._overloadpacket.__name__
        self.total += func.namespace == 'aten' and not func.is_view and name not in _NO_WORK
        return func(*args, **(kwargs or {}))
