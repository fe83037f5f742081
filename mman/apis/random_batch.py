"""Training iterations on one batch of random images, to be looked at one by one."""

from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmpretrain.structures import DataSample
from torch import nn

from mman.engine.standalone import StandaloneTraining

from .models import build_local_model


class RandomBatchTraining(StandaloneTraining):
    """A config's model, optimizers and some hooks on one batch of random images.

    Args:
        cfg (Config): Config of a LocalImageClassifier.
        batch_size (int): Images of the batch, which is in host memory, pinned
            for a GPU.
        device (torch.device): Where the model is.
        hooks (Sequence[dict]): Configs of the hooks that belong to an
            iteration. Defaults to none.
        model (nn.Module | None): What ``cfg`` built, on the device. Defaults
            to None, it is built and initialised here.
    """

    def __init__(
        self,
        cfg: Config,
        batch_size: int,
        device: torch.device,
        hooks: Sequence[dict] = (),
        model: nn.Module | None = None,
    ):
        if model is None:
            torch.manual_seed(0)
            model = build_local_model(cfg)
            model.init_weights()
            model.to(device)
        super().__init__(model, cfg.optim_wrapper, hooks)
        images = torch.randint(0, 256, (batch_size, *model.input_shape), dtype=torch.uint8)
        labels = [number % model.num_classes for number in range(batch_size)]
        self.data = dict(
            inputs=images.pin_memory() if device.type == 'cuda' else images,
            data_samples=[DataSample().set_gt_label(label) for label in labels],
        )

    def step(self) -> None:
        """One iteration: preprocessing, all blocks and their steps, the hooks."""
        super().step(dict(self.data))
