"""Cheap ways to save memory that backpropagation has, each alone and with checkpointing.

What local learning saves says something only beside them.
"""

import copy
from dataclasses import dataclass, replace

from mmengine.config import Config

PARTS_NOTE = (
    'A batch in parts gives the gradients of the whole one, but BatchNorm sees one part at a time: '
    'with BatchNorm it is another training.'
)
_BACKWARD_STEP = 'BackwardStepOptimWrapper'


@dataclass(frozen=True)
class Baseline:
    """A way to train end to end."""

    name: str  #: As in the names of rows and folders.
    words: str  #: What to call it.
    parts: int = 1  #: Into how many parts a batch is cut, their gradients accumulated.
    save_on_cpu: bool = False  #: ``model.save_on_cpu``.
    backward_step: bool = False  #: Whether the optimizer steps within the backward pass.
    recompute: str = 'none'  #: ``model.recompute``.

    @property
    def keeps_weights(self) -> bool:
        """Whether training ends with the weights of backpropagation, bit for bit."""
        return self.parts == 1

    def config(self, cfg: Config) -> Config:
        """The config with one block, trained in this way."""
        changed = copy.deepcopy(cfg)
        changed.model.splitter = dict(type='LocalBlockSplitter', num_blocks=1)
        changed.model.recompute = self.recompute
        changed.model.save_on_cpu = self.save_on_cpu
        changed.model.train_blocks = None
        wrapper = changed.optim_wrapper
        if self.backward_step:
            wrapper.type = _BACKWARD_STEP
        elif wrapper.get('type') == _BACKWARD_STEP:
            wrapper.type = 'BlockOptimWrapper'
        if self.parts > 1:
            wrapper.accumulative_counts = self.parts * wrapper.get('accumulative_counts', 1)
        return changed


_WAYS = (
    Baseline('bp', 'BP'),
    *(Baseline(f'bp-accumulate{n}', f'BP, batch in {n} parts', parts=n) for n in (2, 4, 8)),
    Baseline('bp-cpu', 'BP, saved tensors on the CPU', save_on_cpu=True),
    Baseline('bp-backward-step', 'BP, steps in the backward pass', backward_step=True),
)
#: Backpropagation first, then with checkpointing, then the others.
BASELINES = tuple(
    replace(one, name=one.name + name, words=one.words + words, recompute=recompute)
    for one in _WAYS
    for name, words, recompute in (('', '', 'none'), ('-checkpoint', ', recompute block', 'block'))
)
