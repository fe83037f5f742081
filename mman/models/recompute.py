"""Recomputing activations in the backward pass instead of keeping them.

Also called activation checkpointing (Chen et al. 2016). Blocks and heads know
nothing of it: it is applied from outside, to modules by name.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mman.utils import UserError

from .aux_heads import AuxHead

#: What can be recomputed on its own: every unit of a block, the two units of a
#: MomentumAuxHead, and a head's networks (for the last block: neck and head).
PARTS = ('stem', 'units', 'momentum_unit', 'bias_unit', 'decoder', 'classifier')
SHORT_FORMS = {'none': (), 'block': ('stem', 'units'), 'all': PARTS}


class Recompute:
    """Which parts of the blocks are computed again in the backward pass.

    A part that is listed keeps its input only. Its normalisation layers update
    their running statistics once per step, and dropout draws the same mask
    twice, so training gives the same weights, bit for bit.

    Args:
        parts (str | Sequence[str]): 'none'; 'block', the stem and the units;
            'all'; or a list of names out of :data:`PARTS`. Defaults to 'none'.

    Raises:
        UserError: If a name is not known.
    """

    def __init__(self, parts: str | Sequence[str] = 'none'):
        names = SHORT_FORMS.get(parts, (parts,)) if isinstance(parts, str) else parts
        known = isinstance(names, Sequence) and all(name in PARTS for name in names)
        if not known:
            raise UserError(
                f'model.recompute={parts!r} should be one of {", ".join(SHORT_FORMS)}, or a list '
                f'out of {", ".join(PARTS)}'
            )
        self.parts = frozenset(names)
        #: Named one by one, so that a name without effect can be refused.
        self.listed = () if isinstance(parts, str) and parts in SHORT_FORMS else tuple(names)

    def apply_to_unit(self, module: nn.Module, is_stem: bool) -> None:
        """Recompute a unit of the backbone, as it is called in training, if it is listed."""
        if ('stem' if is_stem else 'units') in self.parts:
            recompute(module)

    def apply_to_head(self, head: AuxHead) -> None:
        """Recompute the listed networks of an aux head and of its host.

        One that names no networks in :attr:`AuxHead.recompute_parts` is recomputed as a
        whole, as the part 'classifier'.
        """
        for one in _with_host(head):
            named = one.recompute_parts
            for part in self.parts.intersection(named):
                for network in _modules(one, named[part]):
                    recompute(network)
            if not named and 'classifier' in self.parts:
                recompute(one, 'loss')

    def apply_to_neck_and_head(self, modules: Sequence[nn.Module]) -> None:
        """Recompute (neck, head) or (head,), if 'classifier' is listed."""
        if 'classifier' in self.parts:
            *necks, head = modules
            for neck in necks:
                recompute(neck)
            recompute(head, 'loss')


def head_parts(head: AuxHead) -> set[str]:
    """The parts that an aux head and its host name."""
    return set().union(*(one.recompute_parts for one in _with_host(head)))


def _with_host(head: AuxHead) -> list[AuxHead]:
    return [module for module in head.modules() if isinstance(module, AuxHead)]


def recompute(module: nn.Module, method: str = '__call__') -> None:
    """Let a module compute one of its methods again in the backward pass; keys stay.

    The module's class becomes a subclass of the same name. A function set on
    the instance would be kept by a deep copy, and compute with the weights of
    the original. '__call__' is the forward pass, compiled or not.
    """
    if not getattr(type(module), '_recomputes', False):
        module.__class__ = _recomputing(type(module), method)


@cache
def _recomputing(base: type[nn.Module], method: str) -> type[nn.Module]:
    plain = getattr(base, method)

    def call(self, *inputs):
        if not torch.is_grad_enabled():
            return plain(self, *inputs)
        # The reentrant kind gives no gradient where the input is detached.
        return checkpoint(
            partial(plain, self),
            *inputs,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), frozen_statistics(self)),
        )

    members = {method: call, '_recomputes': True, '__module__': base.__module__}
    return type(base.__name__, (base,), members)


def _modules(head: AuxHead, names: Iterable[str]) -> Iterator[nn.Module]:
    """The modules of these names, those of a ModuleList one by one; some heads lack some."""
    for name in names:
        module = getattr(head, name, None)
        if isinstance(module, nn.ModuleList):
            yield from module
        elif module is not None:
            yield module


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Let normalisation layers in train mode leave their running statistics alone.

    They keep updating, by nothing: without statistics at all they would take
    other kernels, and torch would refuse the recomputation.
    """
    norms = [
        norm
        for norm in module.modules()
        if getattr(norm, 'running_mean', None) is not None and hasattr(norm, 'momentum')
    ]
    kept = [(norm, norm.momentum, norm._buffers.get('num_batches_tracked')) for norm in norms]
    for norm, _, counter in kept:
        norm.momentum = 0.0
        if counter is not None:
            # A copy counts instead; without a counter, SyncBatchNorm refuses to run.
            norm._buffers['num_batches_tracked'] = counter.clone()
    try:
        yield
    finally:
        for norm, momentum, counter in kept:
            norm.momentum = momentum
            if counter is not None:
                norm._buffers['num_batches_tracked'] = counter
