"""What one unit or head costs, found by running it on fake tensors."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

from mman.utils.flop_count import FlopCount
from mman.utils.live_bytes import LiveBytes


@dataclass(frozen=True)
class Cost:
    """Bytes and arithmetic of a part of a block, its input not counted.

    Args:
        forward (int): Peak bytes of the forward pass.
        kept (int): Bytes it keeps for the backward pass, output included.
        backward (int): Peak bytes of the backward pass, what was kept and the
            gradient of the output included.
        gradients (int): Bytes of the gradients of its parameters.
        output (int): Bytes of the output; 0 for a loss.
        flops (int): Floating-point operations of forward and backward pass,
            recomputation included, of matrix products and convolutions.
        state (int): Bytes of parameters and buffers.
        trained (int): Bytes of the trained parameters.
    """

    forward: int
    kept: int
    backward: int
    gradients: int
    output: int
    flops: int
    state: int
    trained: int


class _Sink(torch.autograd.Function):
    """Swallow a tensor, and make its gradient when the backward pass asks."""

    @staticmethod
    def forward(ctx, x):
        ctx.shape = x.shape
        return x.new_zeros(())

    @staticmethod
    def backward(ctx, grad):
        return grad.new_empty(ctx.shape)


def measure(
    function: Callable[[torch.Tensor], torch.Tensor],
    modules: Iterable[nn.Module],
    x: torch.Tensor,
    hold: bool = False,
) -> Cost:
    """Cost of ``function(x)``, run forward and backward.

    Call it in the context of :func:`mman.utils.fake_copy.fake_copy`, on copies, so
    that nothing is allocated or changed.

    Args:
        function (Callable): From a tensor to a tensor; a scalar is a loss.
        modules (Iterable[nn.Module]): What it uses.
        x (Tensor): Its input; its gradient is counted if it requires one.
        hold (bool): Whether the output outlives the backward pass. Defaults to False.
    """
    modules = list(modules)
    parameters = [p for module in modules for p in module.parameters()]
    buffers = [b for module in modules for b in module.buffers()]
    for p in parameters:
        p.grad = None
    with FlopCount() as flops, LiveBytes([x, *parameters, *buffers]) as live:
        base = live.now
        y = function(x)
        forward, kept = live.peak - base, live.now - base
        live.reset_peak()
        is_loss, output, differentiable = y.ndim == 0, y.nbytes, y.requires_grad
        held = y.detach() if hold else None  # noqa: F841
        loss = y if is_loss or not differentiable else _Sink.apply(y)
        del y
        if differentiable:
            loss.backward()
        backward = live.peak - base
    gradients = [p.grad for p in parameters if p.grad is not None]
    return Cost(
        forward=forward,
        kept=kept,
        backward=backward,
        gradients=sum(t.nbytes for t in gradients),
        output=0 if is_loss else output,
        flops=flops.total,
        state=sum(t.nbytes for t in parameters + buffers),
        trained=sum(p.nbytes for p in parameters if p.requires_grad),
    )
