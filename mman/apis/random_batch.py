"""Training iterations on one batch of random images, to be measured one by one."""

from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmpretrain.structures import DataSample

from mman.engine.standalone import StandaloneTraining

from .models import build_local_model


class RandomBatchTraining(StandaloneTraining):
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
        model = build_local_model(cfg)
        model.init_weights()
        super().__init__(model.to(device), cfg.optim_wrapper, hooks)
        self._data = _random_batch(cfg, batch_size, device)

    def step(self) -> None:
        """One iteration: preprocessing, all blocks and their steps, the hooks."""
        super().step(dict(self._data))


def _random_batch(cfg: Config, count: int, device: torch.device) -> dict:
    """Images and labels as a data loader gives them."""
    images = torch.randint(0, 256, (count, *cfg.model.input_shape), dtype=torch.uint8)
    labels = torch.randint(0, cfg.model.head.num_classes, (count,)).tolist()
    return dict(
        inputs=images.pin_memory() if device.type == 'cuda' else images,
        data_samples=[DataSample().set_gt_label(label) for label in labels],
    )
