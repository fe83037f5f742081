from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim import Optimizer

from mman.registry import OPTIM_WRAPPERS
from mman.utils import UserError, one_of

from .block_optim_wrapper import BlockOptimWrapper
from .loss_scaling import SCALERS, LossScale, SharedLossScaler, grad_scaler_arguments

_DTYPES = dict(float16=torch.float16, bfloat16=torch.bfloat16)


@OPTIM_WRAPPERS.register_module()
class BlockAmpOptimWrapper(BlockOptimWrapper):
    """A BlockOptimWrapper that trains its block in mixed precision.

    The block runs forward under torch's autocast; parameters, gradients and
    optimizer states stay float32. bfloat16 needs no loss scale. In float16 all
    blocks share one, which :class:`BlockOptimWrapperDict` gives them and saves
    under ``loss_scaler``.

    A momentum unit is updated after the iteration (timing 'post_step') even if
    its source skipped a step: the average then moves towards unchanged
    weights. With 'pre_step' it is not, unless the optimizer is a fused Adam.

    Args:
        dtype (str): 'float16' or 'bfloat16'. float16 needs a GPU; bfloat16
            runs on a CPU too, there for tests: slowly. Defaults to 'float16'.
        loss_scale (str | float | dict | None): float16 only. 'dynamic'; a
            number, constant; or ``init_scale``, ``growth_factor``,
            ``backoff_factor``, ``growth_interval`` of torch's GradScaler.
            Defaults to None, 'dynamic' in float16.
        overflow (str): float16 only. When gradients overflow: 'per_block', that block
            alone does not step; 'all', none does, at the cost of keeping
            the gradients of all K blocks until the last has run. Defaults to
            'per_block'.
        accumulative_counts, clip_grad: As in OptimWrapper; unscaled gradients are clipped.

    Attributes:
        loss_scaler (SharedLossScaler | None): None in bfloat16, and until the
            blocks share one.

    Raises:
        UserError: If an argument is none of these or does not go with dtype,
            or float16 is asked of a CPU.
    """

    loss_scaler: SharedLossScaler | None = None

    def __init__(
        self,
        optimizer: Optimizer,
        dtype: str = 'float16',
        loss_scale: LossScale | None = None,
        overflow: str = 'per_block',
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
    ):
        super().__init__(optimizer, accumulative_counts, clip_grad)
        one_of('optim_wrapper.dtype', dtype, _DTYPES)
        one_of('optim_wrapper.overflow', overflow, SCALERS)
        self.dtype = dtype
        self.overflow = overflow
        self.loss_scale = loss_scale
        if dtype == 'float16':
            self.loss_scale = 'dynamic' if loss_scale is None else loss_scale
            grad_scaler_arguments(self.loss_scale)
            self._refuse_cpu()
            return
        for key, value, default in (
            ('loss_scale', loss_scale, None),
            ('overflow', overflow, 'per_block'),
        ):
            if value != default:
                raise UserError(
                    f'optim_wrapper.{key}={value!r} is for float16: bfloat16 has the range of '
                    f"float32 and no loss scale; drop {key}, or set dtype='float16'"
                )

    @property
    def device_type(self) -> str:
        """Where the block's parameters are: 'cuda', 'cpu', ..."""
        params = (p for group in self.optimizer.param_groups for p in group['params'])
        return next(params).device.type

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast, and no gradient synchronisation while gradients accumulate."""
        autocast = torch.autocast(self.device_type, dtype=_DTYPES[self.dtype])
        with super().optim_context(model), autocast:
            yield

    def backward(self, loss: torch.Tensor, **kwargs) -> None:
        """Differentiate the loss, times the loss scale in float16."""
        if self.loss_scaler is not None:
            loss = self.loss_scaler.scale(loss)
        super().backward(loss, **kwargs)

    def step(self, **kwargs) -> None:
        """Unscale and clip the gradients; step unless they overflowed.

        With overflow 'all' the step waits for the last block.
        """
        if self.loss_scaler is None:
            super().step(**kwargs)
        else:
            clip = self._clip_grad if self.clip_grad_kwargs else None
            self.loss_scaler.step(self.optimizer, clip, **kwargs)

    def zero_grad(self, **kwargs) -> None:
        """Drop the gradients, after the step if that waits."""
        if self.loss_scaler is None:
            super().zero_grad(**kwargs)
        else:
            self.loss_scaler.zero_grad(self.optimizer, **kwargs)

    def _refuse_cpu(self) -> None:
        if self.device_type == 'cpu':
            raise UserError(
                "optim_wrapper.dtype='float16' needs a GPU, but the model is on the CPU; there, "
                "use dtype='bfloat16' or a BlockOptimWrapper, which trains in float32"
            )
