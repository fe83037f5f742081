"""What one process does of every iteration: its blocks, and the messages around them."""

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmpretrain.structures import DataSample
from torch import nn

from mman.models.aux_heads import LocalBatch
from mman.models.classifiers import LocalBlock, LocalImageClassifier
from mman.models.classifiers.local_training import Update

from .link import Downstream, Upstream
from .mesh import PipelineMesh
from .pixels import as_sent, to_send


class Stage:
    """One stage of a pipeline.

    Args:
        model (LocalImageClassifier): With all blocks.
        mesh (PipelineMesh): Who is where.
        own (range): The blocks that this stage trains.
        trained (Sequence[nn.Module]): What is called for each of them.
        update (Callable | None): As in :meth:`.LocalTraining.train_blocks`.
        optim_wrapper (OptimWrapperDict): One wrapper per block.
        upstream, downstream: The links to the stage before and to the next one, if any.
        images (bool): Whether a head of a later stage asks for the images.

    Attributes:
        stop_asked (bool): Whether this stage, or a later one, asks to stop.
        stopping (bool): Whether all stages stop after this iteration.
        average (Callable | None): ``average(weights, decay)`` updates the edge
            block's momentum unit; ``decay()`` is m of the current iteration.
        timing (str): When the weights of the first block are averaged.
    """

    def __init__(
        self,
        model: LocalImageClassifier,
        mesh: PipelineMesh,
        own: range,
        trained: Sequence[nn.Module],
        update: Update | None,
        optim_wrapper: OptimWrapperDict,
        upstream: Upstream | None,
        downstream: Downstream | None,
        images: bool,
    ):
        self.model, self.mesh, self.trained = model, mesh, trained
        self.upstream, self.downstream = upstream, downstream
        self.views = model.local_blocks[own.start : own.stop]
        self.own = own
        self.images = images
        self.stop_asked = self.stopping = False
        self.average: Callable[[list[torch.Tensor], float], None] | None = None
        self.decay: Callable[[], float] | None = None
        self.timing = 'post_step'
        self._update_block = update
        self._wrappers = optim_wrapper
        self._foreign = [b.name for b in model.local_blocks if b.index not in own]
        self._batch: dict[str, torch.Tensor] = {}
        self._before_step: torch.Tensor | None = None
        self._handles: list = []
        if downstream is not None:
            self.views[-1].on_output = self._pass_on

    def step(self, data: dict | tuple | list) -> dict[str, torch.Tensor]:
        """One iteration; ``data`` is looked at by the first stage alone."""
        for name in self._foreign:
            # Steps of blocks elsewhere are counted here too.
            self._wrappers[name]._inner_count += 1

        def enter() -> tuple[torch.Tensor, LocalBatch]:
            return self._read(data) if self.upstream is None else self._receive()

        losses, log_vars = self.model.train_some(
            self.views, self.trained, enter, self._wrappers, self._update
        )
        self._batch = {}
        table = self._table(losses)
        if self.downstream is not None:
            self.downstream.send_losses(table)
        self._keep_norms(table[1])
        log_vars = log_vars if self.mesh.is_last else dict(loss=losses[-1])
        return self.model.close_step(table[0].to(losses[0].dtype), log_vars)

    def drain(self) -> None:
        """Empty the links; all stages call it after the same iteration."""
        if self.downstream is not None:
            self._take_returns(outstanding=0)
            self.downstream.close()
        if self.upstream is not None:
            self.upstream.close()
        for link in (self.upstream, self.downstream):
            if link is not None:
                link.flush()

    def watch_steps(self, timing: str) -> None:
        """Send the first block's weights on as they are after its step, or before it."""
        self.timing = timing
        if timing == 'pre_step' and self.upstream.averaged is not None:
            optimizer = self._wrappers[self.views[0].name].optimizer
            self._handles.append(optimizer.register_step_pre_hook(self._note_weights))

    def leave(self) -> None:
        """Leave blocks and optimizers as they were."""
        self.views[-1].on_output = None
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _read(self, data: dict | tuple | list) -> tuple[torch.Tensor, LocalBatch]:
        """The first stage's input. It decides alone when all stop, and so for one iteration."""
        self.stopping = self.stopping or self._agreed(self.stop_asked)
        x, batch = self.model.first_input(data)
        if self.downstream is not None:
            # What goes on with the features.
            kind = 'scores' if 'gt_score' in batch.data_samples[0] else 'labels'
            self._batch = {kind: batch.target}
            if self.images:
                self._batch['images'] = to_send(self.model, data, batch.inputs)
        return x, batch

    def _receive(self) -> tuple[torch.Tensor, LocalBatch]:
        tensors, self.stopping = self.upstream.receive()
        x = tensors.pop('features')
        target = tensors['scores'] if 'scores' in tensors else tensors['labels']
        images = tensors.get('images')
        if images is not None:
            images = as_sent(self.model, images)
        batch = self.model.local_batch(images, ReceivedSamples(target), target)
        if self.downstream is not None:
            self._batch = tensors
        return x, batch

    def _pass_on(self, features: torch.Tensor) -> None:
        """Send the edge block's features; then make its head ready."""
        decay, following = None, f'block{self.own.stop}'
        if self.average is not None and self._wrappers[following].should_update():
            decay = self.decay()
        tensors = dict(self._batch)
        if not self.images:
            tensors.pop('images', None)
        self.downstream.send(dict(features=features, **tensors), self.stopping, decay)
        self._take_returns(self.downstream.lag)

    def _take_returns(self, outstanding: int) -> None:
        for returned in self.downstream.returned(outstanding):
            self.stop_asked = self.stop_asked or returned.stop
            if returned.weights is not None:
                self.average(returned.weights, returned.decay)

    def _update(self, view: LocalBlock, wrapper: OptimWrapper, loss: torch.Tensor) -> None:
        if self._update_block is None:
            wrapper.update_params(loss)
        else:
            self._update_block(view, wrapper, loss)
        if self.upstream is None or view is not self.views[0]:
            return
        weights, valid = None, True
        if self.upstream.averaged is not None and wrapper.should_update():
            weights = self._before_step
            # A guard may have prevented the step: then nothing is averaged before it.
            valid = self.timing == 'post_step' or weights is not None
            if weights is None:
                weights = self.upstream.pack_weights()
            self._before_step = None
        self.upstream.answer(self.stop_asked, weights, valid)

    def _note_weights(self, *args) -> None:
        self._before_step = self.upstream.pack_weights()

    def _table(self, losses: list[torch.Tensor]) -> torch.Tensor:
        """Losses and gradient norms of the blocks up to this stage, 0 after it; (2, K)."""
        if self.upstream is None:
            shape = 2, len(self.model.local_blocks)
            table = torch.zeros(shape, dtype=torch.float64, device=losses[0].device)
        else:
            table = self.upstream.receive_losses()
        here = slice(self.own.start, self.own.stop)
        table[0, here] = torch.stack(losses).double()
        for view in self.views:
            norm = getattr(self._wrappers[view.name], 'grad_norm', None)
            if norm is not None:
                table[1, view.index] = norm
        return table

    def _keep_norms(self, norms: torch.Tensor) -> None:
        """Give the wrappers of earlier blocks their gradient norms, for the log."""
        for block in self.model.local_blocks[: self.own.start]:
            wrapper = self._wrappers[block.name]
            clips = wrapper.clip_grad_kwargs and wrapper.clip_func is nn.utils.clip_grad_norm_
            if clips and wrapper.should_update() and hasattr(wrapper, 'grad_norm'):
                wrapper.grad_norm = norms[block.index]

    def _agreed(self, wanted: bool) -> bool:
        """Whether any replica of the first stage wants to stop."""
        if self.mesh.replicas == 1:
            return wanted
        flag = torch.tensor([wanted], dtype=torch.int32)
        dist.all_reduce(flag, dist.ReduceOp.MAX, group=self.mesh.host_data_group)
        return bool(flag)


class ReceivedSamples(Sequence):
    """The samples of labels (N,) or scores (N, classes), made where somebody asks for one."""

    def __init__(self, target: torch.Tensor):
        self.target = target

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: int) -> DataSample:
        target = self.target[index]
        if target.ndim:
            return DataSample().set_gt_score(target)
        return DataSample().set_gt_label(target.reshape(1))
