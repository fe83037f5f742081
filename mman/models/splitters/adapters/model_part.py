"""Steps of a model's own forward, each as a module of the parts that it needs."""

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from ..unit import Part

_KINDS = ('_parameters', '_buffers', '_modules')


class ModelPart(nn.Module):
    """One step of the forward of a model.

    Args:
        *parts (nn.Module | nn.Parameter): What of the model it needs.
        names (Sequence[str]): Their names in the model.
        settings (nn.Module): The model without anything that is trained.
        step (Callable): ``step(model, x)`` on the model with these parts only.
    """

    def __init__(self, *parts: Part, names: Sequence[str], settings: nn.Module, step: Callable):
        super().__init__()
        self.model = copy.copy(settings)
        for kind in _KINDS:
            setattr(self.model, kind, dict(getattr(settings, kind)))
        for name, part in zip(names, parts, strict=True):
            setattr(self.model, name, part)
        self.step = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.step(self.model, x)


def model_part(model: nn.Module, names: Sequence[str], step: Callable) -> tuple[list[str], partial]:
    """Those of the named parts that a model has, and what makes a ModelPart of them."""
    names = [name for name in names if getattr(model, name, None) is not None]
    settings = copy.copy(model)
    for kind in _KINDS:
        absent = {name: None for name, value in getattr(model, kind).items() if value is None}
        setattr(settings, kind, absent)
    return names, partial(ModelPart, names=names, settings=settings, step=step)
