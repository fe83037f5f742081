"""Trainings in float64, which plain loops can follow to the last digits but rounding."""

import copy

import torch
from mmengine.model import BaseDataPreprocessor
from mmpretrain.structures import DataSample

from mman.registry import MODELS
from tests.helpers.settings import start_heads
from tests.helpers.stand_in_runner import make_runner, step

STEPS = 12


class _AsItIs(BaseDataPreprocessor):
    """Images in float64 that are normalised already; mmpretrain's would make them float32."""

    _enable_normalize = False

    def forward(self, data, training=False):
        return data


def double_model(cfg: dict) -> torch.nn.Module:
    """The model of a config, initialised, in float64 and in train mode."""
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg))
    model.init_weights()
    model.data_preprocessor = _AsItIs()
    start_heads(model)
    return model.double().train()


def batches(shape: tuple[int, ...], count: int = 6) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images (count, *shape) and labels, one batch for every step."""
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(count, *shape, dtype=torch.float64, generator=generator),
            torch.randint(0, 10, (count,), generator=generator),
        )
        for _ in range(STEPS)
    ]


def train(model: torch.nn.Module, data: list, optimizer: dict) -> list[torch.Tensor]:
    """One step a batch; the losses of the blocks in every step."""
    runner = make_runner(model, optimizer=optimizer)
    found = []
    torch.manual_seed(2)
    for images, labels in data:
        samples = [DataSample().set_gt_label(label) for label in labels.tolist()]
        step(runner, dict(inputs=images, data_samples=samples))
        found.append(model.block_losses)
    return found


def assert_same(found: dict, expected: dict) -> None:
    """Tensors by name, equal to rounding; both have the same names."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=name)
