import logging

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn

from mman.registry import OPTIM_WRAPPERS
from mman.utils import UserError

from .loss_scaling import share_loss_scaler

_SCALER = 'loss_scaler'


@OPTIM_WRAPPERS.register_module()
class BlockOptimWrapperDict(OptimWrapperDict):
    """The optimizer wrappers of all blocks, under the names of the blocks.

    Differs from the stock dict where that loses something: one learning rate
    for the log instead of K, counters that a trailing accumulation needs, and
    a state that must match name by name when it is loaded.

    Blocks that train in float16 are given one loss scale for all. The state
    holds it once, under ``loss_scaler`` beside the names of the blocks.

    Args:
        **optim_wrapper_dict (OptimWrapper): The wrappers, in order of blocks.

    Attributes:
        loss_scaler (SharedLossScaler | None): None unless in float16.

    Raises:
        UserError: If blocks in float16 differ in what the loss scale depends
            on.
    """

    def __init__(self, **optim_wrapper_dict: OptimWrapper):
        super().__init__(**optim_wrapper_dict)
        self.loss_scaler = share_loss_scaler(self.optim_wrappers)

    def get_lr(self) -> dict[str, list[float]]:
        """Learning rates of the last block, as those of the whole.

        All blocks share one schedule unless the config overrides some.
        """
        return self._last().get_lr()

    def get_momentum(self) -> dict[str, list[float]]:
        """Momenta of the last block, as those of the whole."""
        return self._last().get_momentum()

    def initialize_count_status(self, model: nn.Module, cur_iter: int, max_iters: int) -> None:
        """Tell every wrapper where training stands.

        Without it the gradients of the last iterations are never stepped when
        the iterations are not a multiple of ``accumulative_counts``.
        """
        for k, wrapper in enumerate(self.optim_wrappers.values()):
            # The warning about BatchNorm looks into the model: once is enough.
            wrapper.initialize_count_status(model if k == 0 else nn.Identity(), cur_iter, max_iters)

    def state_dict(self) -> dict:
        """State of every wrapper by name, and of the loss scale if there is one."""
        state = super().state_dict()
        if self.loss_scaler is not None:
            state[_SCALER] = self.loss_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the state of every wrapper, and the loss scale if this run has a use for it.

        Raises:
            UserError: If the names are not exactly those of the blocks, or the
                loss scale is missing. Nothing is loaded then.
        """
        blocks = {name: state for name, state in state_dict.items() if name != _SCALER}
        missing = sorted(set(self.optim_wrappers) - set(blocks))
        unknown = sorted(set(blocks) - set(self.optim_wrappers))
        if missing or unknown:
            raise UserError(
                f'the optimizer state is of another split: it lacks {missing} and has '
                f'{unknown}; resume with the config it was saved by'
            )
        self._load_scaler(state_dict.get(_SCALER))
        super().load_state_dict(blocks)

    def grad_norms(self) -> torch.Tensor | None:
        """Gradient norms before clipping, (K,), or None if no block clips by norm.

        A block that does not clip counts as NaN.
        """
        norms = [getattr(wrapper, 'grad_norm', None) for wrapper in self.optim_wrappers.values()]
        known = next((norm for norm in norms if norm is not None), None)
        if known is None:
            return None
        nan = torch.full_like(known, torch.nan)
        return torch.stack([nan if norm is None else norm for norm in norms])

    def _load_scaler(self, state: dict | None) -> None:
        """Load the loss scale, or say that one side has none."""
        if self.loss_scaler is None:
            if state is not None:
                print_log(
                    'The checkpoint has a loss scale, which this run, not in float16, leaves out.',
                    logger='current',
                    level=logging.WARNING,
                )
        elif state is None:
            raise UserError(
                "optim_wrapper.dtype='float16' cannot resume a checkpoint without a loss scale, "
                'saved by a run in float32 or bfloat16: resume in its precision, or start anew '
                'from its weights with load_from and resume=False'
            )
        else:
            self.loss_scaler.load_state_dict(state)

    def _last(self):
        return list(self.optim_wrappers.values())[-1]
