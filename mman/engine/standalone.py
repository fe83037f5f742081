"""Training iterations without a Runner, to be looked at one by one."""

import copy
import logging
from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from torch import nn

from mman.registry import HOOKS

# How long a training is pretended to be, for what depends on its length.
_MAX_ITERS = 10**6


class StandaloneTraining:
    """As much of a Runner as a training step and its hooks need.

    Args:
        model (nn.Module): A LocalImageClassifier in train mode, wrapped or not.
        optim_wrapper (dict): Config of the optimizer wrappers.
        hooks (Sequence[Hook | dict]): Those that belong to an iteration, built
            or not. Their ``before_train`` is called here. Defaults to none.
        max_iters (int): Length of the training. Defaults to a million.
    """

    def __init__(
        self,
        model: nn.Module,
        optim_wrapper: dict,
        hooks: Sequence[Hook | dict] = (),
        max_iters: int = _MAX_ITERS,
    ):
        self.model = model
        self.optim_wrapper = build_optim_wrapper(model, copy.deepcopy(optim_wrapper))
        self.optim_wrapper.initialize_count_status(model, 0, max_iters)
        self.iter = 0
        self.max_iters = max_iters
        self.logger = logging.getLogger(__name__)
        self.hooks: list[Hook] = []
        for hook in hooks:
            self.add_hook(hook)

    def add_hook(self, hook: Hook | dict) -> None:
        """Add a hook, built or not, and let it prepare."""
        hook = HOOKS.build(copy.deepcopy(hook)) if isinstance(hook, dict) else hook
        self.hooks.append(hook)
        hook.before_train(self)

    def step(self, data: dict) -> dict:
        """One iteration on a batch as a data loader gives it; the values for the log."""
        outputs = self.model.train_step(data, self.optim_wrapper)
        for hook in self.hooks:
            hook.after_train_iter(self, batch_idx=self.iter, data_batch=data, outputs=outputs)
        self.iter += 1
        return outputs
