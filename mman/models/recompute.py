"""Recomputing activations in the backward pass instead of keeping them.

Also called activation checkpointing (Chen et al. 2016).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mman.utils import UserError

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

    def run(
        self,
        part: str,
        function: Callable,
        *inputs: Any,
        modules: Iterable[nn.Module] | None = None,
    ) -> Any:
        """``function(*inputs)``, recomputed in the backward pass if ``part`` is.

        Args:
            part (str): One of :data:`PARTS`.
            function (Callable): A module, or a function that uses ``modules``.
            *inputs: Its arguments.
            modules (Iterable[nn.Module] | None): The modules that hold running
                statistics. Defaults to None, ``function`` itself.
        """
        if part not in self.parts or not torch.is_grad_enabled():
            return function(*inputs)
        owners = (function,) if modules is None else tuple(modules)
        # The reentrant kind gives no gradient where the input is detached.
        return checkpoint(
            function,
            *inputs,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), frozen_statistics(owners)),
        )


@contextmanager
def frozen_statistics(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let normalisation layers in train mode leave their running statistics alone.

    They keep updating, by nothing: without statistics at all they would take
    other kernels, and torch would refuse the recomputation.
    """
    norms = {
        id(norm): norm
        for module in modules
        for norm in module.modules()
        if getattr(norm, 'running_mean', None) is not None and hasattr(norm, 'momentum')
    }
    kept = [
        (norm, norm.momentum, norm._buffers.get('num_batches_tracked')) for norm in norms.values()
    ]
    for norm, _, counter in kept:
        norm.momentum = 0.0
        if counter is not None:
            norm._buffers['num_batches_tracked'] = None
    try:
        yield
    finally:
        for norm, momentum, counter in kept:
            norm.momentum = momentum
            if counter is not None:
                norm._buffers['num_batches_tracked'] = counter
