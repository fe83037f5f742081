"""The training step that the wrappers are compared with."""

import torch
from torch import nn

from tests.helpers.stand_in_runner import SGD


class HandWritten:
    """Local learning with torch's own parts: an optimizer per block, perhaps one GradScaler."""

    def __init__(self, model, dtype=None, scaler=None, max_norm=None, optimizer=SGD):
        self.model = model
        self.dtype = dtype
        self.scaler = scaler
        self.max_norm = max_norm
        arguments = {key: value for key, value in optimizer.items() if key != 'type'}
        self.params = [
            [p for p in block.parameters() if p.requires_grad] for block in model.local_blocks
        ]
        self.optimizers = [torch.optim.SGD(params, **arguments) for params in self.params]

    def iteration(self, data, factor=1, do_step=True):
        """One iteration; returns the gradient norms of the blocks if they are clipped."""
        data = self.model.data_preprocessor(data, True)
        x = data['inputs']
        batch = self.model.local_batch(x, data['data_samples'])
        norms = []
        for k, block in enumerate(self.model.local_blocks):
            with torch.autocast('cpu', dtype=self.dtype, enabled=self.dtype is not None):
                x, losses = block(x, batch)
            loss = sum(losses.values()) / factor
            (loss if self.scaler is None else self.scaler.scale(loss)).backward()
            if do_step:
                norms.append(self._step(k))
        if do_step and self.scaler is not None:
            self.scaler.update()
        return norms

    def _step(self, k):
        norm = None
        if self.max_norm is not None:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizers[k])
            norm = nn.utils.clip_grad_norm_(self.params[k], self.max_norm)
        if self.scaler is None:
            self.optimizers[k].step()
        else:
            self.scaler.step(self.optimizers[k])
        self.optimizers[k].zero_grad()
        return norm
