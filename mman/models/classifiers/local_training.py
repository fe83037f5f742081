"""One training iteration of a LocalImageClassifier, block by block."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import nn

from mman.utils import UserError
from mman.utils.saved_on_host import SavedOnHost

from ..aux_heads import LocalBatch
from ..splitters.unit import Part
from .build import neck_and_head
from .checks import check_inputs
from .local_block import LocalBlock, Losses
from .prefix import cached_input, has_features

# A block, wrapped or not: (input, batch) to (output for the next block, losses).
Block = Callable[[torch.Tensor, LocalBatch], tuple[torch.Tensor, Losses]]
# Backward pass and step of a block in place of ``wrapper.update_params(loss)``.
Update = Callable[[LocalBlock, OptimWrapper, torch.Tensor], None]


class LocalTraining(ImageClassifier):
    """How a :class:`LocalImageClassifier` trains; it is built by that class.

    Attributes:
        trained_blocks (tuple[int, ...]): Blocks that have an optimizer.
        active_blocks (tuple[int, ...]): Those of them that train now, see
            :meth:`activate`.
        block_losses (Tensor | None): Losses of the active blocks in the last iteration.
        block_terms (dict): Of blocks that have several, what makes up the loss.
    """

    def train_step(
        self, data: dict | tuple | list, optim_wrapper: OptimWrapperDict
    ) -> dict[str, torch.Tensor]:
        """One iteration: every block forward, backward and stepped in turn.

        Args:
            data (dict | tuple | list): A batch from the data loader.
            optim_wrapper (OptimWrapperDict): One wrapper per block, as
                :class:`mman.engine.optim.BlockOptimWrapperConstructor` makes.

        Returns:
            dict[str, Tensor]: For the log: ``loss``, of the last active block, whatever else
            the classifier's head reports, and the mean and the largest of the local losses.
        """
        return self.train_blocks(self.local_blocks, data, optim_wrapper)

    def train_blocks(
        self,
        blocks: Sequence[Block],
        data: dict | tuple | list,
        optim_wrapper: OptimWrapperDict,
        update: Update | None = None,
    ) -> dict[str, torch.Tensor]:
        """:meth:`train_step` over given blocks, which may be wrapped ones.

        Args:
            blocks (Sequence[Callable]): The K blocks; of one that rests its view is called.
            data (dict | tuple | list): A batch from the data loader.
            optim_wrapper (OptimWrapperDict): One wrapper per block that trains.
            update (Callable | None): ``update(view, wrapper, loss)``. Defaults to None,
                ``wrapper.update_params(loss)``.

        Raises:
            UserError: If there is one optimizer for all blocks, or the images
                have another shape than ``input_shape``.
        """
        enter = partial(self.first_input, data)
        # Cached features are what the blocks before gave.
        first = self.trained_blocks[0] if has_features(data) else 0
        views = self.local_blocks[first:]
        losses, log_vars = self.train_some(views, blocks[first:], enter, optim_wrapper, update)
        return self.close_step(torch.stack(losses), log_vars)

    def first_input(self, data: dict | tuple | list) -> tuple[torch.Tensor, LocalBatch]:
        """What the first block and the aux heads are given of a batch of the data loader.

        Of a batch of :class:`mman.datasets.CachedFeatures` it is the first block
        that trains.

        Raises:
            UserError: If it has no labels, or images of another shape than
                ``input_shape``.
        """
        if has_features(data):
            return cached_input(self, data)
        data = self.data_preprocessor(data, True)
        x = data['inputs'].contiguous(memory_format=self.memory_format)
        check_inputs(x, self.input_shape)
        if data['data_samples'] is None:
            raise UserError(
                'a training batch has no labels: with an InMemoryDataset, data_preprocessor.type '
                "should be 'BatchAugmentDataPreprocessor'"
            )
        return x, self.local_batch(x, data['data_samples'])

    def train_some(
        self,
        views: Sequence[LocalBlock],
        blocks: Sequence[Block],
        enter: Callable[[], tuple[torch.Tensor, LocalBatch]],
        optim_wrapper: OptimWrapperDict,
        update: Update | None = None,
    ) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        """Forward, backward and step of neighbouring blocks, in turn.

        Args:
            views (Sequence[LocalBlock]): The blocks.
            blocks (Sequence[Callable]): What is called for each of them.
            enter (Callable): Gives what the first of them is given, and the
                training batch. Asked here, so that no caller keeps them alive.
            optim_wrapper (OptimWrapperDict): As in :meth:`train_blocks`.
            update (Callable | None): Likewise.

        Returns:
            tuple: The loss of every block, and what its last one reports.

        Raises:
            UserError: If there is one optimizer for all blocks.
        """
        if not isinstance(optim_wrapper, OptimWrapperDict):
            raise UserError(
                "optim_wrapper.constructor should be 'BlockOptimWrapperConstructor': every local "
                f'block needs an optimizer, but there is one {type(optim_wrapper).__name__}'
            )
        x, batch = enter()
        losses, log_vars, self.block_terms = [], {}, {}
        last = self.active_blocks[-1]
        for view, block in zip(views, blocks, strict=True):
            if view.index > last:
                break
            if view.index not in self.active_blocks:
                # In the precision of the others.
                with optim_wrapper[f'block{last}'].optim_context(view):
                    x = view.rest(x)
                continue
            wrapper = optim_wrapper[view.name]
            if view is self.local_blocks[-1]:
                batch = batch.without_images()
            saving = SavedOnHost() if self.save_on_cpu else nullcontext()
            with wrapper.optim_context(block), saving:
                x, block_losses = block(x, batch)
            loss, log_vars = self.parse_losses(block_losses)
            if update is None:
                wrapper.update_params(loss)
            else:
                update(view, wrapper, loss)
            # Nothing of this block may stay alive while the next one runs.
            log_vars = {key: value.detach() for key, value in log_vars.items()}
            losses.append(loss.detach())
            terms = {key: v for key, v in log_vars.items() if 'loss' in key and key != 'loss'}
            if len(terms) > 1:
                self.block_terms[view.index] = terms
            del loss, block_losses
        return losses, log_vars

    def close_step(
        self, block_losses: torch.Tensor, log_vars: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Keep the losses of the active blocks, and add to the log what they come to."""
        self.block_losses = block_losses
        whole = self.active_blocks[-1] == self.num_blocks - 1
        local = block_losses[:-1] if whole else block_losses
        if len(local):
            log_vars['local_loss_mean'] = local.mean()
            log_vars['local_loss_max'] = local.max()
        return log_vars

    def train(self, mode: bool = True) -> 'LocalTraining':
        """Set the mode of all but the blocks that rest, unless their mode is 'train'."""
        super().train(mode)
        if self.resting_mode == 'eval':
            for module in self.resting_parts():
                if isinstance(module, nn.Module):
                    module.eval()
        return self

    def activate(self, blocks: Sequence[int]) -> None:
        """Let some of :attr:`trained_blocks` train, and the others rest."""
        self.active_blocks = tuple(sorted(blocks))
        self.train(self.training)

    def resting_parts(self) -> Iterator[Part]:
        """The units and the losses' networks of every block that rests."""
        for k, units in enumerate(self.block_units):
            if k in self.active_blocks:
                continue
            for unit in units:
                # A Runner may have converted norm layers.
                yield from unit.within(self.backbone).all_parts.values()
            yield from [self.aux_heads[k]] if k < len(self.aux_heads) else neck_and_head(self)

    def need_images(self, blocks: Iterable[int]) -> bool:
        """Whether the aux head of one of the blocks needs the images; the last block has none."""
        heads = self.aux_heads
        return any(heads[k].needs_image for k in blocks if k < len(heads))

    def local_batch(
        self,
        inputs: torch.Tensor | None,
        data_samples: Sequence[DataSample],
        target: torch.Tensor | None = None,
    ) -> LocalBatch:
        """A :class:`LocalBatch` with the normalisation that its images went through."""
        preprocessor = self.data_preprocessor
        normalized = preprocessor._enable_normalize
        return LocalBatch(
            inputs,
            data_samples,
            preprocessor.mean if normalized else 0.0,
            preprocessor.std if normalized else 1.0,
            self.need_images(self.active_blocks),
            target,
        )
