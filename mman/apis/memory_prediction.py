"""Peak memory of a training iteration, predicted without a GPU or measured on one."""

import copy
import gc
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from mmengine.config import Config
from torch import nn

from mman.engine.hooks.momentum_update_hook import start_momentum_heads
from mman.utils import UserError
from mman.utils.fake_copy import fake_copy
from mman.utils.flop_count import FlopCount
from mman.utils.live_bytes import LiveBytes

from .models import build_local_model
from .random_batch import RandomBatchTraining

GIB = 2**30
# Normalising over a batch needs two values.
_SMALLEST = 2


@dataclass(frozen=True)
class BlockMemory:
    """Bytes at the peak of one block.

    Args:
        peak (int): Everything alive.
        gradients (int): Of the parameters.
        activations (int): Activations, their gradients, the batch.
        host (int): What is kept in the host's memory, at the most; not part of the
            others. Defaults to 0.
    """

    peak: int
    gradients: int
    activations: int
    host: int = 0


@dataclass(frozen=True)
class MemoryReport:
    """Bytes of one training iteration.

    Args:
        parameters (int): Of backbone and heads.
        buffers (int): Of backbone and heads.
        optimizer (int): State of the optimizers.
        blocks (tuple[BlockMemory, ...]): The peak of every block that trains.
        flops (int): Floating-point operations of the iteration.
        ends (tuple[str, ...]): The last unit of each of them.
        resting (int): Peak while blocks before the first that trains run.
            Defaults to 0, there are none.
    """

    parameters: int
    buffers: int
    optimizer: int
    blocks: tuple[BlockMemory, ...]
    flops: int
    ends: tuple[str, ...]
    resting: int = 0

    @property
    def worst(self) -> int:
        """Number of the block, of those that train, that peaks highest."""
        return max(range(len(self.blocks)), key=lambda k: self.blocks[k].peak)

    @property
    def peak(self) -> int:
        """Peak bytes of the iteration."""
        return max(self.blocks[self.worst].peak, self.resting)

    @property
    def host(self) -> int:
        """Peak bytes on the host of what ``model.save_on_cpu`` moves there."""
        return max(block.host for block in self.blocks)


def predict_memory(cfg: Config, batch_size: int, cached: bool = False) -> MemoryReport:
    """Peak bytes of a training iteration, from an iteration on fake tensors.

    The model, its optimizers and one iteration are those of a real run, but
    tensors have shapes and no contents: it takes seconds and no memory beyond
    the weights. Counted are live tensors; workspaces of kernels and what an
    allocator keeps in reserve come on top. float16 is taken as bfloat16.

    Args:
        cfg (Config): With ``model`` (a LocalImageClassifier) and
            ``optim_wrapper``.
        batch_size (int): Images of a batch, from 2 on.
        cached (bool): Whether the batch is of cached features, which enter at the
            first block that trains. Defaults to False.

    Raises:
        UserError: If the model cannot be built or cannot run on fake tensors.
    """
    model = build_local_model(cfg)
    with fake_copy(model) as copied:
        try:
            return _report(copied, cfg, batch_size, cached)
        except RuntimeError as error:
            raise UserError(
                f'model: an iteration at batch_size={batch_size} does not run on fake tensors, '
                f'so its memory cannot be predicted: {error}'
            ) from error


def largest_batch(cfg: Config, gib: float) -> int:
    """The most images of a batch for which :func:`predict_memory` stays within a budget.

    ``gib`` is of live tensors in 2^30 bytes. The data is not looked at: there may be fewer images.

    Raises:
        UserError: If a batch of 2 does not fit; says what it takes.
    """
    limit = int(gib * GIB)
    fits = (_SMALLEST, predict_memory(cfg, _SMALLEST).peak)
    if fits[1] > limit:
        raise UserError(
            f"memory_budget.gib={gib:g} is too small for batch_size='auto': a batch of "
            f'{_SMALLEST} takes {fits[1] / GIB:.3g} GiB'
        )
    guess, fails = 2 * _SMALLEST, None
    while fails is None or fails[0] - fits[0] > 1:
        found = (guess, predict_memory(cfg, guess).peak)
        # Peaks are almost straight lines: two points tell about where the limit is.
        per_image = max((found[1] - fits[1]) / (found[0] - fits[0]), 1)
        if found[1] <= limit:
            fits = found
        else:
            fails = found
        if fails is not None:
            per_image = (fails[1] - fits[1]) / (fails[0] - fits[0])
        guess = max(int(fits[0] + (limit - fits[1]) / per_image), fits[0] + 1)
        if fails is not None:
            guess = min(guess, fails[0] - 1)
    return fits[0]


def measure_memory(cfg: Config, batch_size: int, device: str, cached: bool = False) -> int:
    """Peak bytes of a real training iteration on random images.

    ``device`` is 'cuda', where the allocator says (``torch.cuda.max_memory_allocated``), or
    'cpu', where live tensors are counted; the rest is as for :func:`predict_memory`.
    """
    # A model and the views of its blocks refer to each other: an earlier one
    # may still be there.
    gc.collect()
    model = build_local_model(cfg).to(device)
    start_momentum_heads(model)
    if device == 'cpu':
        return _report(model, cfg, batch_size, cached).peak
    train, count = _training(model, cfg, batch_size, device, cached)
    for _ in range(2):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        for _ in range(count):
            train.step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def _training(
    model: nn.Module, cfg: Config, batch_size: int, device: str, cached: bool
) -> tuple[RandomBatchTraining, int]:
    """Iterations of a model, and how many of them make a step of the optimizers."""
    wrapper = copy.deepcopy(cfg.optim_wrapper)
    if device == 'cpu' and 'Amp' in str(wrapper.get('type')):
        wrapper.dtype = 'bfloat16'
        wrapper.pop('loss_scale', None)
    changed = Config(dict(optim_wrapper=wrapper))
    place = torch.device(device)
    train = RandomBatchTraining(changed, batch_size, place, model=model, cached=cached)
    return train, wrapper.get('accumulative_counts', 1)


def _report(model: nn.Module, cfg: Config, batch_size: int, cached: bool) -> MemoryReport:
    """Run two steps on the CPU and look at the second, when optimizers have their state."""
    train, count = _training(model, cfg, batch_size, 'cpu', cached)
    for _ in range(count):
        train.step()
    parameters, buffers = list(model.parameters()), list(model.buffers())
    optimizer = [
        value
        for wrapper in train.optim_wrapper.values()
        for state in wrapper.optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    ]
    steady = [*parameters, *buffers, *optimizer]
    base = sum({id(t): t.nbytes for t in steady}.values())
    found: list[BlockMemory] = []

    def gradients() -> int:
        return _bytes(p.grad for p in parameters if p.grad is not None)

    batch = [value for value in train.data.values() if isinstance(value, torch.Tensor)]
    with FlopCount() as flops, LiveBytes([*steady, *batch], gradients) as live:

        def close_block(*_) -> None:
            activations = live.peak - live.at_peak - base
            found.append(BlockMemory(live.peak, live.at_peak, activations, live.host_peak))
            live.reset_peak()

        handles = [block.register_forward_pre_hook(close_block) for block in model.local_blocks]
        for _ in range(count):
            close_block()
            train.step()
        close_block()
        for handle in handles:
            handle.remove()
    trained = model.trained_blocks
    return MemoryReport(
        parameters=_bytes(parameters),
        buffers=_bytes(buffers),
        optimizer=_bytes(optimizer),
        # The last round of an accumulation is the one that counts. What came before its first
        # block is the preparation of the batch, and the blocks that rest before it.
        blocks=tuple(found[-len(trained) :]),
        flops=flops.total // count,
        ends=tuple(model.block_ends[k] for k in trained),
        resting=found[-len(trained) - 1].peak if trained[0] else 0,
    )


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
