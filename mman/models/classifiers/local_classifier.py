from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from mmengine.model import ModuleList
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import nn

from mman.registry import MODELS, TASK_UTILS
from mman.utils import UserError
from mman.utils.build import build_strict
from mman.utils.build_errors import short
from mman.utils.saved_on_host import SavedOnHost

from ..aux_heads import LocalBatch
from ..recompute import Recompute
from .acceleration import check_compile_options, checked_memory_format
from .block_costs import BlockCosts
from .build import build_aux_heads, build_local_blocks, neck_and_head
from .checks import (
    check_inputs,
    check_recompute,
    checked_input_shape,
    checked_num_classes,
    checked_train_blocks,
)
from .early_exit import check_exits, exit_logits
from .head_check import check_aux_heads, check_neck_and_head
from .local_block import LocalBlock, Losses
from .prefix import cached_input, has_features
from .resting import need_images, resting_parts


@MODELS.register_module()
class LocalImageClassifier(ImageClassifier):
    """An image classifier trained block by block, each with its own loss.

    ``train_step`` runs every block forward, backward and through its optimizer
    step before the next one starts, so that the activations and gradients of
    one block are alive at a time. The last block is trained by the neck and
    head as usual. At inference it is a plain :class:`mmpretrain.ImageClassifier`:
    validation, testing, inferencers and metrics work unchanged, and its
    state_dict without ``aux_heads.*`` is the plain one's.

    Args:
        backbone (dict): Any backbone with a unit adapter; it must return its
            last feature map only, as a tuple of one.
        splitter (dict): Where to cut, a :class:`LocalBlockSplitter`.
        input_shape (Sequence[int]): (C, H, W) of the training images.
        aux_head (dict | Sequence[dict] | None): Config of the aux heads: one
            for all K - 1 of them, or one each. Not used when K is 1. Defaults
            to None.
        recompute (str | Sequence[str]): What is computed again in the backward
            pass instead of kept: 'none', 'block', 'all' or names of parts, see
            :class:`mman.models.recompute.Recompute`. Defaults to 'none'.
        memory_format (str): 'contiguous' or 'channels_last', of weights and
            feature maps. Defaults to 'contiguous'.
        compile (dict | None): Arguments of ``torch.compile`` (``mode``,
            ``backend``, ...), with which every unit, and every network of the
            aux heads, is compiled by itself; units alike share a graph.
            Defaults to None, not compiled.
        train_blocks (Sequence[int] | None): Numbers of the blocks to train, as
            for fine-tuning or one block after the other. The others rest: they
            run in eval mode and without a graph, none of their parameters or
            statistics changes, and after the last one that trains none runs.
            Defaults to None, all.
        resting_mode (str): In which mode blocks before the last that trains rest:
            'eval', or 'train', by batch statistics as in joint training, when
            their running statistics go on moving. Defaults to 'eval'.
        predict_at (int | None): The block after which classes are predicted, by its
            aux head; those behind it do not run then. Defaults to None, the whole
            network.
        save_on_cpu (bool): Whether what the backward pass needs is kept in the
            host's memory, see :class:`mman.utils.saved_on_host.SavedOnHost`.
            Defaults to False.
        neck (dict | None): As in ImageClassifier.
        head (dict): As in ImageClassifier; its ``num_classes`` is that of the
            aux heads too.
        pretrained (str | None): As in ImageClassifier. It loads what fits and
            skips the rest, so the Runner's config has a ``pretrained`` of its own,
            which does not: :mod:`mman.apis.pretrained`.
        train_cfg (dict | None): As in ImageClassifier.
        data_preprocessor (dict | None): As in ImageClassifier.
        init_cfg (dict | None): As in ImageClassifier.

    Attributes:
        trained_blocks (tuple[int, ...]): Blocks that have an optimizer.
        active_blocks (tuple[int, ...]): Those of them that train now, see
            :meth:`activate`.

    Raises:
        UserError: If the parts do not fit; names the key, its value and what
            would be right.
    """

    def __init__(
        self,
        backbone: dict,
        splitter: dict,
        input_shape: Sequence[int],
        aux_head: dict | Sequence[dict] | None = None,
        recompute: str | Sequence[str] = 'none',
        memory_format: str = 'contiguous',
        compile: dict | None = None,
        train_blocks: Sequence[int] | None = None,
        resting_mode: str = 'eval',
        predict_at: int | None = None,
        save_on_cpu: bool = False,
        neck: dict | None = None,
        head: dict | None = None,
        pretrained: str | None = None,
        train_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            pretrained=pretrained,
            train_cfg=train_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.input_shape = checked_input_shape(input_shape)
        self.num_classes = checked_num_classes(self)
        self.recompute = Recompute(recompute)
        cut = build_strict(TASK_UTILS, splitter, 'model.splitter').split
        try:
            self.block_units = cut(
                self.backbone,
                self.input_shape,
                partial(BlockCosts, self, aux_head, self.recompute),
            )
        except UserError as error:
            # The splitter knows the network, but not the keys that it comes from.
            raise UserError(f'{error}; model.backbone={short(backbone)}') from error
        # mmengine's list passes init_weights on to its members, torch's does not.
        self.aux_heads = ModuleList(build_aux_heads(self, aux_head, self.block_units))
        check_recompute(self.recompute, self.aux_heads, self.backbone)
        check_aux_heads(self.aux_heads, self.input_shape)
        shape = self.block_units[-1][-1].final_shape
        check_neck_and_head(nn.ModuleList(neck_and_head(self)), shape, neck, head)
        check_compile_options(compile)
        self.compile_options = compile
        self.memory_format = checked_memory_format(memory_format)
        if memory_format != 'contiguous':
            self.to(memory_format=self.memory_format)
        self.trained_blocks = checked_train_blocks(train_blocks, self.num_blocks)
        self.active_blocks = self.trained_blocks
        if resting_mode not in ('eval', 'train'):
            raise UserError(f"model.resting_mode={resting_mode!r} should be 'eval' or 'train'")
        self.resting_mode = resting_mode
        if predict_at is not None:
            check_exits(self, [predict_at], 'model.predict_at: ')
        self.predict_at = predict_at
        for module in resting_parts(self):
            module.requires_grad_(False)
        if not isinstance(save_on_cpu, bool):
            raise UserError(f'model.save_on_cpu={save_on_cpu!r} should be True or False')
        self.save_on_cpu = save_on_cpu
        self.block_losses: torch.Tensor | None = None
        self.block_terms: dict[int, Losses] = {}
        self._local_blocks: tuple[LocalBlock, ...] | None = None

    @property
    def num_blocks(self) -> int:
        """K, the number of local blocks, the last one included."""
        return len(self.block_units)

    @property
    def block_ends(self) -> list[str]:
        """Name of every block's last unit, which identifies the split."""
        return [units[-1].name for units in self.block_units]

    @property
    def local_blocks(self) -> tuple[LocalBlock, ...]:
        """Views of the K blocks.

        Made when first asked for, which should be after the model's modules
        are final: a Runner converts norm layers before it trains.
        """
        if self._local_blocks is None:
            self._local_blocks = build_local_blocks(self)
        return self._local_blocks

    def train_step(
        self, data: dict | tuple | list, optim_wrapper: OptimWrapperDict
    ) -> dict[str, torch.Tensor]:
        """One iteration: every block forward, backward and stepped in turn.

        Args:
            data (dict | tuple | list): A batch from the data loader.
            optim_wrapper (OptimWrapperDict): One wrapper per block, as
                :class:`mman.engine.optim.BlockOptimWrapperConstructor` makes.

        Returns:
            dict[str, Tensor]: For the log: ``loss`` and whatever else the
            classifier's head reports, and for K > 1 the mean and the largest
            of the local losses. ``block_losses`` has those of all active blocks,
            in order; ``loss`` is of the last of these; ``block_terms`` has
            what makes up the loss of each block that has several.
        """
        return self.train_blocks(self.local_blocks, data, optim_wrapper)

    def train_blocks(
        self,
        blocks: Sequence[Callable[[torch.Tensor, LocalBatch], tuple[torch.Tensor, Losses]]],
        data: dict | tuple | list,
        optim_wrapper: OptimWrapperDict,
        update: Callable[[LocalBlock, OptimWrapper, torch.Tensor], None] | None = None,
    ) -> dict[str, torch.Tensor]:
        """:meth:`train_step` over given blocks, which may be wrapped ones.

        Args:
            blocks (Sequence[Callable]): The K blocks, called in order; of one
                that rests its view is called.
            data (dict | tuple | list): A batch from the data loader.
            optim_wrapper (OptimWrapperDict): One wrapper per block that trains.
            update (Callable | None): ``update(view, wrapper, loss)`` in place
                of ``wrapper.update_params(loss)``. Defaults to None.

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
        blocks: Sequence[Callable[[torch.Tensor, LocalBatch], tuple[torch.Tensor, Losses]]],
        enter: Callable[[], tuple[torch.Tensor, LocalBatch]],
        optim_wrapper: OptimWrapperDict,
        update: Callable[[LocalBlock, OptimWrapper, torch.Tensor], None] | None = None,
    ) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        """Forward, backward and step of neighbouring blocks, in turn.

        Args:
            views (Sequence[LocalBlock]): The blocks.
            blocks (Sequence[Callable]): What is called for each of them.
            enter (Callable): Gives what the first of them is given, and the
                training batch. Asked here, so that no caller keeps them alive.
            optim_wrapper (OptimWrapperDict): One wrapper per block.
            update (Callable | None): As in :meth:`train_blocks`.

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

    def train(self, mode: bool = True) -> 'LocalImageClassifier':
        """Set the mode of all but the blocks that rest, unless their mode is 'train'."""
        super().train(mode)
        if self.resting_mode == 'eval':
            for module in resting_parts(self):
                if isinstance(module, nn.Module):
                    module.eval()
        return self

    def activate(self, blocks: Sequence[int]) -> None:
        """Let some of the blocks that have an optimizer train, and the others rest.

        Args:
            blocks (Sequence[int]): Out of :attr:`trained_blocks`.
        """
        self.active_blocks = tuple(sorted(blocks))
        self.train(self.training)

    def extract_feat(self, inputs: torch.Tensor, stage: str = 'neck') -> tuple:
        """As ImageClassifier, in the model's memory format."""
        return super().extract_feat(inputs.contiguous(memory_format=self.memory_format), stage)

    def predict(
        self,
        inputs: torch.Tensor,
        data_samples: list[DataSample] | None = None,
        **kwargs,
    ) -> list[DataSample]:
        """As ImageClassifier, or after the block that ``predict_at`` names."""
        if self.predict_at is None:
            return super().predict(inputs, data_samples, **kwargs)
        ((_, scores),) = exit_logits(self, inputs, [self.predict_at])
        return self.head._get_predictions(scores, data_samples)

    def loss(self, inputs: torch.Tensor, data_samples: list[DataSample]) -> dict:
        """The classifier's own loss on all units at once, as ImageClassifier.

        Raises:
            RuntimeError: If it would be trained on although there is more than
                one block.
        """
        if self.num_blocks > 1 and self.training and torch.is_grad_enabled():
            raise RuntimeError(
                f'mode="loss" would train all {self.num_blocks} local blocks end to end: call '
                'train_step, and do not wrap the model in one DistributedDataParallel'
            )
        return super().loss(inputs, data_samples)

    def local_batch(
        self,
        inputs: torch.Tensor | None,
        data_samples: Sequence[DataSample],
        target: torch.Tensor | None = None,
    ) -> LocalBatch:
        """The batch with the normalisation that its images went through.

        Args:
            inputs (Tensor | None): See :class:`LocalBatch`.
            data_samples (Sequence[DataSample]): Likewise.
            target (Tensor | None): Likewise. Defaults to None.
        """
        preprocessor = self.data_preprocessor
        normalized = preprocessor._enable_normalize
        return LocalBatch(
            inputs,
            data_samples,
            preprocessor.mean if normalized else 0.0,
            preprocessor.std if normalized else 1.0,
            need_images(self, self.active_blocks),
            target,
        )
