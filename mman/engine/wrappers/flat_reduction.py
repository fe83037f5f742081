from collections.abc import Iterable

import torch
import torch.distributed as dist
from mmengine.optim import OptimWrapper
from torch import nn


class FlatReduction:
    """Backward pass, one all-reduce and optimizer step of groups of blocks.

    Called once per block in order, in place of ``OptimWrapper.update_params``.
    The gradients of a group are averaged over ranks in one tensor, on the
    iterations that step; others only accumulate.

    Args:
        num_blocks (int): How many blocks train.
        group_size (int): Neighbouring blocks per all-reduce; the last may be fewer.
        ranks (ProcessGroup | None): Those to average over. Defaults to None, all.
    """

    def __init__(self, num_blocks: int, group_size: int, ranks: dist.ProcessGroup | None = None):
        self.num_blocks = num_blocks
        self.group_size = group_size
        self.ranks = ranks
        self._pending: list[tuple[nn.Module, OptimWrapper]] = []
        self._done = 0

    def __call__(self, block: nn.Module, wrapper: OptimWrapper, loss: torch.Tensor) -> None:
        """Backward of one block, and the reduction and step of a full group."""
        wrapper.backward(wrapper.scale_loss(loss))
        self._pending.append((block, wrapper))
        self._done += 1
        if len(self._pending) == self.group_size or self._done == self.num_blocks:
            self._finish()

    def _finish(self) -> None:
        if all(wrapper.should_update() for _, wrapper in self._pending):
            blocks = [block for block, _ in self._pending]
            grads = [p.grad for block in blocks for p in block.parameters()]
            average_over_ranks([grad for grad in grads if grad is not None], self.ranks)
            for _, wrapper in self._pending:
                wrapper.step()
                wrapper.zero_grad()
        self._pending.clear()


def average_over_ranks(
    tensors: Iterable[torch.Tensor], ranks: dist.ProcessGroup | None = None
) -> None:
    """Replace floating tensors by their mean over ranks, None for all; one all-reduce per dtype."""
    by_type: dict[torch.dtype, list[torch.Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for group in by_type.values():
        flat = torch.cat([tensor.reshape(-1) for tensor in group])
        dist.all_reduce(flat, group=ranks)
        flat /= dist.get_world_size(ranks)
        means = flat.split([tensor.numel() for tensor in group])
        torch._foreach_copy_(
            group, [mean.view_as(tensor) for mean, tensor in zip(means, group, strict=True)]
        )
