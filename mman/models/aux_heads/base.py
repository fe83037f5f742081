import dataclasses
from abc import ABCMeta, abstractmethod

import torch
from mmengine.model import BaseModule
from torch import nn

from mman.utils import UserError

from .context import BlockContext, LocalBatch
from .layouts import Pooled, TokensToMap


class AuxHead(BaseModule, metaclass=ABCMeta):
    """Base of the networks that train one local block; dropped at inference.

    A subclass registered in ``mman.registry.MODELS`` is selected by
    ``model.aux_head.type``. Its constructor takes ``context`` first, which
    tells it the shapes it must fit, then whatever keys a user may set.

    Args:
        context (BlockContext): Where the head stands.
        init_cfg (dict | list | None): mmengine's initialisation config.

    Attributes:
        recompute_parts (dict[str, tuple[str, ...]]): Part out of
            :data:`mman.models.recompute.PARTS` -> the attributes of the head
            that are its networks. A head that names none is recomputed as a
            whole, as the part 'classifier'.
        has_classifier (bool): Whether :meth:`logits` gives class scores.
            Defaults to False.
        needs_image (bool): Whether :meth:`loss` reads ``batch.image``.
            Defaults to False.
        uses_block_input (bool): Whether :meth:`loss` reads ``batch.block_input``,
            so that what the head costs depends on where its block starts.
            Defaults to False.
        as_map (nn.Module): Gives the features as a map (N, C, H, W), whose
            C, H, W are ``context.map_shape``: of tokens the patches, in their grid.
        pooled (nn.Module): Gives (N, C): vectors as they are; the mean of a map;
            of tokens the class token, or their mean without one.
    """

    recompute_parts: dict[str, tuple[str, ...]] = {}
    has_classifier: bool = False
    needs_image: bool = False
    uses_block_input: bool = False

    def __init__(self, context: BlockContext, init_cfg: dict | list | None = None):
        super().__init__(init_cfg)
        # Units belong to the backbone: a head that kept them would keep it alive.
        self.context = dataclasses.replace(context, next_units=())
        is_tokens = len(context.feature_shape) == 2
        self.as_map = TokensToMap(self.context) if is_tokens else nn.Identity()
        self.pooled = Pooled(context.num_extra_tokens)

    @abstractmethod
    def loss(self, features: torch.Tensor, batch: LocalBatch) -> dict[str, torch.Tensor]:
        """Losses that train the block.

        Args:
            features (Tensor): Output of the block, (N, *context.feature_shape),
                attached to the block's graph.
            batch (LocalBatch): Labels and images of the step.

        Returns:
            dict[str, Tensor]: Scalars. Those with 'loss' in their name are
            summed and trained on, weights included; others are ignored.
        """

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Scores of the classes before softmax, (N, num_classes): the block is an early exit.

        Raises:
            UserError: If the head has no classifier.
        """
        raise UserError(
            f'block {self.context.index} is no early exit: its {type(self).__name__} has no '
            'classifier'
        )

    def require_map(self) -> tuple[int, int, int]:
        """(C, H, W) of the features, for heads that take maps only.

        Raises:
            UserError: If the features are not a map.
        """
        shape = self.context.feature_shape
        if len(shape) != 3:
            raise UserError(
                f'{type(self).__name__} needs feature maps (C, H, W), but block '
                f'{self.context.index} gives {shape}'
            )
        return shape
