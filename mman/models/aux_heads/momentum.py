import copy

import torch
from mmengine.model import initialize
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from mman.registry import MODELS
from mman.utils import UserError, one_of
from mman.utils.build import build_strict

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

    With ``bias_units`` above 1 the mix then passes copies of the units that
    follow that first one, which are bias units too (MAN++ takes two in vision
    transformers).

    The average is kept by :class:`mman.engine.hooks.MomentumUpdateHook`, over
    parameters only: the momentum unit stays in train mode, normalises by batch
    statistics, and keeps its own running ones.

    Args:
        context (BlockContext): Where the head stands.
        host (dict): Config of the host head, any registered aux head. Its
            features have the shape of the output of the last unit copied.
        bias_units (int): How many of the units that follow are copied as bias
            units. Defaults to 1.
        mix (str): 'sum' or 'scaled'. Defaults to 'sum'.
        momentum_init (str): 'source', equal to the copied unit when training
            starts, or 'random', initialised like the backbone but apart, as
            the releases do. Defaults to 'source'.
        bias_init (str): Likewise for the bias unit. Defaults to 'source'.
        init_cfg (dict | list | None): Defaults to None; the host head has its
            own.
    """

    recompute_parts = dict(
        momentum_unit=('momentum_unit',), bias_unit=('bias_unit', 'later_bias_units')
    )

    def __init__(
        self,
        context: BlockContext,
        host: dict,
        bias_units: int = 1,
        mix: str = 'sum',
        momentum_init: str = 'source',
        bias_init: str = 'source',
        init_cfg: dict | list | None = None,
    ):
        super().__init__(context, init_cfg)
        one_of('mix', mix, ('sum', 'scaled'), self)
        one_of('momentum_init', momentum_init, ('source', 'random'), self)
        one_of('bias_init', bias_init, ('source', 'random'), self)
        remaining = len(context.next_units)
        if type(bias_units) is not int or not 1 <= bias_units <= remaining:
            raise UserError(
                f'bias_units={bias_units!r} of MomentumAuxHead should be an integer from 1 to '
                f'{remaining}, the units after block {context.index}'
            )
        self.momentum_init = momentum_init
        self.bias_init = bias_init
        self.num_sources = bias_units
        first, *others = context.next_units[:bias_units]
        self.momentum_unit = copy.deepcopy(first.module).requires_grad_(False)
        self.bias_unit = copy.deepcopy(first.module).requires_grad_(True)
        self.later_bias_units = nn.ModuleList(
            copy.deepcopy(unit.module).requires_grad_(True) for unit in others
        )
        self.scale = nn.Parameter(torch.tensor(1.0)) if mix == 'scaled' else None
        # -1 until the head is started: a resumed one may have trained without an update.
        self.register_buffer('num_updates', -torch.ones((), dtype=torch.int64))
        self.started = False
        self.host = build_strict(
            MODELS, host, 'aux_head.host', AuxHead, context=context.after_units(bias_units)
        )
        if isinstance(self.host, MomentumAuxHead):
            raise UserError('aux_head.host should be a host head, not another MomentumAuxHead')
        self.has_classifier = self.host.has_classifier
        self.needs_image = self.host.needs_image
        self.uses_block_input = self.host.uses_block_input

    def init_weights(self) -> None:
        """Initialise the host, and the units where they are 'random'."""
        if self.is_init:
            return
        super().init_weights()
        cfg = self.context.unit_init_cfg
        for how, unit, _ in self._copies():
            if how == 'random' and cfg is not None:
                initialize(unit, copy.deepcopy(cfg))

    def train(self, mode: bool = True) -> 'MomentumAuxHead':
        """Set the mode of all but the momentum unit, which stays in train mode."""
        super().train(mode)
        self.momentum_unit.train()
        return self

    def mixed(self, features: torch.Tensor) -> torch.Tensor:
        """What the host head sees, (N, *shape of the output of the last unit copied)."""
        bias = self.bias_unit(features)
        momentum = self.momentum_unit(features)
        if self.scale is None:
            mixed = bias + momentum
        else:
            mixed = self.scale * bias + (2 - self.scale) * momentum
        for unit in self.later_bias_units:
            mixed = unit(mixed)
        return mixed

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """The host's, on the mixed features; see :meth:`AuxHead.logits`.

        In eval mode the momentum unit too normalises by its running
        statistics, so that the scores of an image do not depend on others.
        """
        self.momentum_unit.train(self.training)
        try:
            return self.host.logits(self.mixed(features))
        finally:
            self.momentum_unit.train()

    def loss(self, features: torch.Tensor, batch: LocalBatch) -> dict[str, torch.Tensor]:
        """The host head's losses on the mixed features; see :meth:`AuxHead.loss`.

        The head must have been started, so that something keeps the average.

        Raises:
            RuntimeError: If it was not, unless on fake tensors.
        """
        if not self.started and not isinstance(features, FakeTensor):
            raise RuntimeError(
                'the momentum units were not started: add dict(type="MomentumUpdateHook") to '
                'custom_hooks, or call MomentumAuxHead.start in your own training loop'
            )
        return self.host.loss(self.mixed(features), batch)

    @torch.no_grad()
    def start(self, *sources: nn.Module) -> None:
        """Make the units whose init is 'source' equal to it, once.

        Call it after weights are initialised, loaded or resumed, with the units after the
        block in order, :attr:`num_sources` of them; one that was started before copies nothing.
        """
        if self.num_updates < 0:
            self.num_updates.zero_()
            for how, unit, place in self._copies():
                if how == 'source':
                    copies, originals = list(unit.parameters()), sources[place].parameters()
                    # Dropout, for one, has none.
                    if copies:
                        torch._foreach_copy_(copies, list(originals))
        self.started = True

    def _copies(self) -> list[tuple[str, nn.Module, int]]:
        """How every copied unit starts, the unit, and the place of its source."""
        biases = [self.bias_unit, *self.later_bias_units]
        return [
            (self.momentum_init, self.momentum_unit, 0),
            *((self.bias_init, unit, place) for place, unit in enumerate(biases)),
        ]
