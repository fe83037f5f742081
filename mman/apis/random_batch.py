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
        batch_size (int): Images of the batch, in host memory, pinned for a GPU.
        device (torch.device): Where the model is.
        hooks (Sequence[dict]): Of an iteration. Defaults to none.
        model (nn.Module | None): What ``cfg`` built, on the device. Defaults
            to None, it is built and initialised here.
        cached (bool): Whether the batch is of random cached features instead, before the
            first block that trains. Defaults to False.
    """

    def __init__(
        self,
        cfg: Config,
        batch_size: int,
        device: torch.device,
        hooks: Sequence[dict] = (),
        model: nn.Module | None = None,
        cached: bool = False,
    ):
        if model is None:
            torch.manual_seed(0)
            model = build_local_model(cfg)
            model.init_weights()
            model.to(device)
        super().__init__(model, cfg.optim_wrapper, hooks)
        tensors = {}
        if cached:
            before = model.block_units[model.trained_blocks[0] - 1][-1]
            tensors['features'] = torch.rand(batch_size, *before.final_shape)
        if not cached or model.need_images(model.trained_blocks):
            shape = (batch_size, *model.input_shape)
            tensors['inputs'] = torch.randint(0, 256, shape, dtype=torch.uint8)
        if device.type == 'cuda':
            tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        labels = [number % model.num_classes for number in range(batch_size)]
        self.data = dict(
            tensors,
            data_samples=[DataSample().set_gt_label(label) for label in labels],
        )

    def step(self) -> None:
        """One iteration: preprocessing, all blocks and their steps, the hooks."""
        super().step(dict(self.data))
