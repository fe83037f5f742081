import copy
import dataclasses

import torch
from mmengine.model import initialize
from torch import nn

from mman.registry import MODELS
from mman.utils import UserError, build_strict

from .base import AuxHead
from .context import BlockContext, LocalBatch


@MODELS.register_module()
class MomentumAuxHead(AuxHead):
    """Momentum Auxiliary Network around any host head.

    The output of block k passes two copies of the first unit of block k + 1
    before the host head sees it: the momentum unit, an exponential moving
    average that takes no gradient step but lets gradients through, and the
    bias unit, trained by block k's own loss.

    - mix 'sum': ``bias(x) + momentum(x)`` (MAN, ECCV 2024);
    - mix 'scaled': ``s * bias(x) + (2 - s) * momentum(x)`` with a learnable
      scalar s per block that starts at 1 (MAN++, TPAMI 2026).

    The average is kept by :class:`mman.engine.hooks.MomentumUpdateHook`, over
    parameters only: the momentum unit stays in train mode, normalises by batch
    statistics, and keeps its own running ones.

    Args:
        context (BlockContext): Where the head stands.
        host (dict): Config of the host head, any registered aux head. Its
            features have the shape of the next block's first unit's output.
        mix (str): 'sum' or 'scaled'. Defaults to 'sum'.
        momentum_init (str): 'source', equal to the copied unit when training
            starts, or 'random', initialised like the backbone but apart, as
            the releases do. Defaults to 'source'.
        bias_init (str): Likewise for the bias unit. Defaults to 'source'.
        init_cfg (dict | list | None): Defaults to None; the host head has its
            own.
    """

    def __init__(
        self,
        context: BlockContext,
        host: dict,
        mix: str = 'sum',
        momentum_init: str = 'source',
        bias_init: str = 'source',
        init_cfg: dict | list | None = None,
    ):
        super().__init__(context, init_cfg)
        if mix not in ('sum', 'scaled'):
            raise UserError(f"mix={mix!r} of MomentumAuxHead should be 'sum' or 'scaled'")
        for key, value in (('momentum_init', momentum_init), ('bias_init', bias_init)):
            if value not in ('source', 'random'):
                raise UserError(
                    f"{key}={value!r} of MomentumAuxHead should be 'source' or 'random'"
                )
        self.momentum_init = momentum_init
        self.bias_init = bias_init
        unit = context.next_units[0]
        self.momentum_unit = copy.deepcopy(unit.module).requires_grad_(False)
        self.bias_unit = copy.deepcopy(unit.module).requires_grad_(True)
        self.scale = nn.Parameter(torch.tensor(1.0)) if mix == 'scaled' else None
        # Zero tells a fresh start from a resumed one.
        self.register_buffer('num_updates', torch.zeros((), dtype=torch.int64))
        self.started = False
        host_context = dataclasses.replace(
            context,
            feature_shape=unit.output_shape,
            next_units=context.next_units[1:],
            end=context.end + 1,
        )
        self.host = build_strict(MODELS, host, 'aux_head.host', AuxHead, context=host_context)
        if isinstance(self.host, MomentumAuxHead):
            raise UserError('aux_head.host should be a host head, not another MomentumAuxHead')
        self.parts = ('momentum_unit', 'bias_unit', *self.host.parts)

    def init_weights(self) -> None:
        """Initialise the host, and the two units where they are 'random'."""
        if self.is_init:
            return
        super().init_weights()
        for how, unit in (
            (self.momentum_init, self.momentum_unit),
            (self.bias_init, self.bias_unit),
        ):
            if how == 'random' and self.context.unit_init_cfg is not None:
                initialize(unit, copy.deepcopy(self.context.unit_init_cfg))

    def train(self, mode: bool = True) -> 'MomentumAuxHead':
        """Set the mode of all but the momentum unit, which stays in train mode."""
        super().train(mode)
        self.momentum_unit.train()
        return self

    def mixed(self, features: torch.Tensor) -> torch.Tensor:
        """What the host head sees, (N, *shape of the next unit's output)."""
        bias = self.run('bias_unit', self.bias_unit, features)
        momentum = self.run('momentum_unit', self.momentum_unit, features)
        if self.scale is None:
            return bias + momentum
        return self.scale * bias + (2 - self.scale) * momentum

    def loss(self, features: torch.Tensor, batch: LocalBatch) -> dict[str, torch.Tensor]:
        """The host head's losses on the mixed features; see :meth:`AuxHead.loss`.

        Raises:
            RuntimeError: If :meth:`start` was not called, so that nothing
                would keep the average.
        """
        if not self.started:
            raise RuntimeError(
                'the momentum units were not started: add dict(type="MomentumUpdateHook") to '
                'custom_hooks, or call MomentumAuxHead.start in your own training loop'
            )
        return self.host.local_loss(self.mixed(features), batch)

    @torch.no_grad()
    def start(self, source: nn.Module) -> None:
        """Make the units whose init is 'source' equal to it, once.

        Call it after weights are initialised, loaded or resumed; after an
        update it copies nothing, so a resumed run goes on where it was.

        Args:
            source (nn.Module): The first unit of the next block.
        """
        if self.num_updates == 0:
            for how, unit in (
                (self.momentum_init, self.momentum_unit),
                (self.bias_init, self.bias_unit),
            ):
                if how == 'source':
                    torch._foreach_copy_(list(unit.parameters()), list(source.parameters()))
        self.started = True
