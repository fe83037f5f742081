from collections.abc import Callable, Sequence

import torch
from torch import nn

from ..aux_heads import LocalBatch
from ..splitters import Unit
from ..splitters.unit import Part

Losses = dict[str, torch.Tensor]


class LocalBlock(nn.Module):
    """A view of one gradient-isolated block: its units and what trains it.

    It owns nothing and is not part of the classifier's module tree. Its
    modules are reachable under the names they have in the classifier, so
    ``named_parameters`` of all blocks together are those of the classifier.
    Being a module of its own it can be wrapped, by DistributedDataParallel
    for one.

    Args:
        index (int): Position of the block, from 0.
        units (Sequence[Unit]): Its units.
        loss_modules (dict[str, nn.Module]): Of its loss, by name in the classifier.
        loss (Callable): ``loss(features, batch)`` gives a dict of losses.

    Attributes:
        layers (tuple[nn.Module, ...]): The units as they are called in training.
        on_output (Callable | None): Called with the detached output before the
            loss is computed, for whoever passes it on early. Defaults to None.
    """

    on_output: Callable[[torch.Tensor], None] | None = None

    def __init__(
        self,
        index: int,
        units: Sequence[Unit],
        loss_modules: dict[str, nn.Module],
        loss: Callable[[torch.Tensor, LocalBatch], Losses],
    ):
        super().__init__()
        self.index = index
        self.units = tuple(units)
        # In a tuple, hence not registered a second time.
        self.layers = tuple(unit.module_with_output for unit in units)
        self._loss = loss
        for unit in units:
            for path, part in unit.all_parts.items():
                _register(self, f'backbone.{path}', part)
        for path, part in loss_modules.items():
            _register(self, path, part)

    @property
    def name(self) -> str:
        """Key of the block in the optimizer wrapper: 'block0', 'block1', ..."""
        return f'block{self.index}'

    @property
    def first_unit(self) -> nn.Module:
        """The unit that the previous block's MomentumAuxHead copies."""
        return self.units[0].module

    def forward(self, x: torch.Tensor, batch: LocalBatch) -> tuple[torch.Tensor, Losses]:
        """Output for the next block, detached, and the losses of this one."""
        batch = batch.for_block(x)
        for layer in self.layers:
            x = layer(x)
        if self.on_output is not None:
            self.on_output(x.detach())
        return x.detach(), self._loss(x, batch)

    @torch.no_grad()
    def rest(self, x: torch.Tensor) -> torch.Tensor:
        """Output for the next block of one that does not train: no graph, no loss."""
        for layer in self.layers:
            x = layer(x)
        return x


def neck_and_head_loss(modules: Sequence[nn.Module], x: torch.Tensor, batch: LocalBatch) -> Losses:
    """Losses of (neck, head) or (head,) on what the backbone returns, (N, C, H, W)."""
    *necks, head = modules
    features = (x,)
    for neck in necks:
        features = neck(features)
    return head.loss(features, list(batch.data_samples))


def _register(root: nn.Module, path: str, part: Part) -> None:
    """Make ``part`` reachable from ``root`` under a dotted path."""
    *parents, leaf = path.split('.')
    for name in parents:
        if name not in root._modules:
            root.add_module(name, nn.Module())
        root = root.get_submodule(name)
    if isinstance(part, nn.Parameter):
        root.register_parameter(leaf, part)
    else:
        root.add_module(leaf, part)
