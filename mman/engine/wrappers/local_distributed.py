from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mman.models.classifiers import LocalBlock
from mman.registry import MODEL_WRAPPERS
from mman.utils import UserError, integer_from

from ..optim import BlockOptimWrapperDict
from .flat_reduction import FlatReduction, average_over_ranks
from .local_wrapper import LocalWrapper


@MODEL_WRAPPERS.register_module()
class LocalDistributedDataParallel(LocalWrapper):
    """Data-parallel training of local blocks, exact in every iteration.

    Every block is reduced on its own, between its backward pass and its
    optimizer step. The reducers are built at the first ``train_step``: the
    Runner wraps a model before it initialises, loads or freezes it. They stay
    outside the module tree, so the wrapped model's state_dict has the keys of
    training without a launcher.

    Normalisation statistics are those of each rank's own part of the batch
    (use ``sync_bn`` for common ones); :class:`mman.engine.hooks.BlockBufferSyncHook`
    averages the running ones before they are used.

    Args:
        module (nn.Module): A LocalImageClassifier on its device.
        reducer (str): 'ddp', one torch DistributedDataParallel per block, which
            sends gradients while the block's backward pass goes on; or 'flat',
            one all-reduce of all gradients of a block after it. Both give the
            same gradients. Defaults to 'ddp'.
        blocks_per_reduction (int): Neighbouring blocks whose gradients go in
            one all-reduce, for 'flat' only. They step together, and the
            gradients of all of them are alive at a time. Defaults to 1.
        bucket_cap_mb (float | None): Size of DistributedDataParallel's
            buckets. Defaults to None, torch's own.

    Raises:
        UserError: If an argument is out of range or does not go with another.
    """

    def __init__(
        self,
        module: nn.Module,
        reducer: str = 'ddp',
        blocks_per_reduction: int = 1,
        bucket_cap_mb: float | None = None,
    ):
        super().__init__(module, reducer)
        integer_from(1, 'model_wrapper_cfg.blocks_per_reduction', blocks_per_reduction)
        if reducer == 'ddp' and blocks_per_reduction > 1:
            raise UserError(
                f'model_wrapper_cfg.blocks_per_reduction={blocks_per_reduction} needs '
                "reducer='flat': DistributedDataParallel reduces one block at a time"
            )
        if reducer == 'flat' and bucket_cap_mb is not None:
            raise UserError(f"model_wrapper_cfg.bucket_cap_mb={bucket_cap_mb} needs reducer='ddp'")
        self.blocks_per_reduction = blocks_per_reduction
        self.bucket_cap_mb = bucket_cap_mb
        # In a tuple, hence not part of the module tree.
        self._blocks: tuple[nn.Module, ...] | None = None
        self._reducing = True

    def train_step(
        self, data: dict | tuple | list, optim_wrapper: BlockOptimWrapperDict
    ) -> dict[str, torch.Tensor]:
        """One iteration on this rank's part of the batch; see LocalImageClassifier."""
        if self._blocks is None:
            self._blocks = self._prepare(self.module.local_blocks)
        if self.reducer == 'flat' and self._reducing:
            active = len(self.module.active_blocks)
            update = FlatReduction(active, self.blocks_per_reduction)
            return self.module.train_blocks(self._blocks, data, optim_wrapper, update)
        with ExitStack() as stack:
            if self.reducer == 'ddp' and not self._reducing:
                for k in self.module.trained_blocks:
                    stack.enter_context(self._blocks[k].no_sync())
            return self.module.train_blocks(self._blocks, data, optim_wrapper)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Every rank trains on its own gradients in the steps inside.

        Accumulation does not need it: blocks are reduced when they step.
        """
        self._reducing, before = False, self._reducing
        try:
            yield
        finally:
            self._reducing = before

    @torch.no_grad()
    def sync_buffers(self) -> None:
        """Average the floating buffers of all ranks; all ranks must call it.

        Counters are the same everywhere as they are. Buffers of one type go in
        one all-reduce.
        """
        average_over_ranks(b for b in self.module.buffers() if b.is_floating_point())

    def _prepare(self, blocks: Sequence[LocalBlock]) -> tuple[nn.Module, ...]:
        """What trains the blocks, after making all ranks start alike."""
        if self.reducer == 'flat':
            # Not the buffers: a resumed rank has its own running statistics.
            for p in self.module.parameters():
                dist.broadcast(p.data, src=0)
            return tuple(blocks)
        trained = self.module.trained_blocks
        for k, block in enumerate(blocks):
            # The reducers make the blocks alike that they train.
            for p in block.parameters() if k not in trained else ():
                dist.broadcast(p.data, src=0)
        buckets = {} if self.bucket_cap_mb is None else dict(bucket_cap_mb=self.bucket_cap_mb)
        # Without device_ids the inputs are left alone: they are in place.
        # Gradients are not views of the buckets, which would keep both alive.
        return tuple(
            DistributedDataParallel(block, broadcast_buffers=False, **buckets)
            if block.index in trained
            else block
            for block in blocks
        )
