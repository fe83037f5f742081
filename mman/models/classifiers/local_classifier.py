from collections.abc import Sequence
from functools import partial

import torch
from mmengine.model import ModuleList
from mmpretrain.structures import DataSample
from torch import nn

from mman.registry import MODELS, TASK_UTILS
from mman.utils import UserError, dict_at, one_of, true_or_false
from mman.utils.build import build_strict
from mman.utils.build_errors import short
from mman.utils.signature import check_keys

from ..recompute import Recompute
from .acceleration import MEMORY_FORMATS
from .block_costs import BlockCosts
from .build import build_aux_heads, build_local_blocks, neck_and_head
from .checks import (
    check_aux_heads,
    check_neck_and_head,
    check_recompute,
    checked_input_shape,
    checked_num_classes,
    checked_train_blocks,
)
from .early_exit import check_exits, exit_logits
from .local_block import LocalBlock, Losses
from .local_training import LocalTraining


@MODELS.register_module()
class LocalImageClassifier(LocalTraining):
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
        head (dict): Its ``num_classes`` is that of the aux heads too.
        pretrained (str | None): Loads what fits and skips the rest, so the Runner's
            config has a ``pretrained`` of its own, which does not:
            :mod:`mman.apis.pretrained`.
        neck, train_cfg, data_preprocessor, init_cfg: As in ImageClassifier.

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
        if compile is not None:
            check_keys(dict_at('model.compile', compile), 'model.compile', torch.compile, extra=())
        self.compile_options = compile
        one_of('model.memory_format', memory_format, MEMORY_FORMATS)
        self.memory_format = MEMORY_FORMATS[memory_format]
        if memory_format != 'contiguous':
            self.to(memory_format=self.memory_format)
        self.trained_blocks = checked_train_blocks(train_blocks, self.num_blocks)
        self.active_blocks = self.trained_blocks
        one_of('model.resting_mode', resting_mode, ('eval', 'train'))
        self.resting_mode = resting_mode
        if predict_at is not None:
            check_exits(self, [predict_at], 'model.predict_at: ')
        self.predict_at = predict_at
        for module in self.resting_parts():
            module.requires_grad_(False)
        true_or_false('model.save_on_cpu', save_on_cpu)
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
