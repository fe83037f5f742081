"""Training iterations without a Runner, to be measured one by one."""

import copy
from collections.abc import Sequence
from types import SimpleNamespace

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmpretrain.structures import DataSample

from mman.registry import HOOKS

from .memory_prediction import build_local_model

# How long a training is pretended to be, for what depends on its length.
_MAX_ITERS = 10**6


class Trial:
    """A config's model, optimizers and some hooks on one batch of random images.

    Args:
        cfg (Config): Config of a LocalImageClassifier.
        batch_size (int): Images of the batch, which is in host memory, pinned
            for a GPU.
        device (torch.device): Where the model is.
        hooks (Sequence[dict]): Configs of the hooks that belong to an iteration.
    """

    def __init__(self, cfg: Config, batch_size: int, device: torch.device, hooks: Sequence[dict]):
        torch.manual_seed(0)
        self.model = build_local_model(cfg)
        self.model.init_weights()
        self.model.to(device)
        self._data = _random_batch(cfg, batch_size, device)
        optim_wrapper = build_optim_wrapper(self.model, copy.deepcopy(cfg.optim_wrapper))
        optim_wrapper.initialize_count_status(self.model, 0, _MAX_ITERS)
        self._runner = SimpleNamespace(
            model=self.model,
            optim_wrapper=optim_wrapper,
            iter=0,
            max_iters=_MAX_ITERS,
            logger=MMLogger.get_current_instance(),
        )
        self._hooks = [HOOKS.build(copy.deepcopy(hook)) for hook in hooks]
        for hook in self._hooks:
            hook.before_train(self._runner)

    def step(self) -> None:
        """One iteration: preprocessing, all blocks and their steps, the hooks."""
        runner, data = self._runner, dict(self._data)
        outputs = runner.model.train_step(data, runner.optim_wrapper)
        for hook in self._hooks:
            hook.after_train_iter(runner, batch_idx=runner.iter, data_batch=data, outputs=outputs)
        runner.iter += 1


def _random_batch(cfg: Config, count: int, device: torch.device) -> dict:
    """Images and labels as a data loader gives them."""
    images = torch.randint(0, 256, (count, *cfg.model.input_shape), dtype=torch.uint8)
    labels = torch.randint(0, cfg.model.head.num_classes, (count,)).tolist()
    return dict(
        inputs=images.pin_memory() if device.type == 'cuda' else images,
        data_samples=[DataSample().set_gt_label(label) for label in labels],
    )
