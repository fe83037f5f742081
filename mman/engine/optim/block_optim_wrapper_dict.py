import torch
from mmengine.optim import OptimWrapperDict
from torch import nn

from mman.registry import OPTIM_WRAPPERS
from mman.utils import UserError


@OPTIM_WRAPPERS.register_module()
class BlockOptimWrapperDict(OptimWrapperDict):
    """The optimizer wrappers of all blocks, under the names of the blocks.

    Differs from the stock dict where that loses something: one learning rate
    for the log instead of K, counters that a trailing accumulation needs, and
    a state that must match name by name when it is loaded.
    """

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

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the state of every wrapper.

        Raises:
            UserError: If the names are not exactly those of the blocks.
        """
        missing = sorted(set(self.optim_wrappers) - set(state_dict))
        unknown = sorted(set(state_dict) - set(self.optim_wrappers))
        if missing or unknown:
            raise UserError(
                f'the optimizer state is of another split: it lacks {missing} and has '
                f'{unknown}; resume with the config it was saved by'
            )
        super().load_state_dict(state_dict)

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

    def _last(self):
        return list(self.optim_wrappers.values())[-1]
