"""A data preprocessor that augments whole batches on the training device."""

from collections.abc import Sequence

import torch
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample
from torch import nn

from mman.registry import MODELS
from mman.utils import UserError, should_be
from mman.utils.build import build_strict

from .batch_transforms import BatchTransform


@MODELS.register_module()
class BatchAugmentDataPreprocessor(ClsDataPreprocessor):
    """mmpretrain's preprocessor of images, after random transforms of the whole batch.

    In training the raw pixels pass ``augments`` in order, on the device of the
    model, before anything else is done to them; then colour order, normalisation
    and ``batch_augments`` (mixup, CutMix) follow as in the base class. The
    random numbers come from torch's global generator of that device.

    It takes the batches of :class:`mman.datasets.InMemoryDataset`, whose labels
    are moved to the device as one tensor, and those of any per-image pipeline
    with images of one size and ``collate_fn=dict(type='default_collate')``.

    Args:
        augments (Sequence[dict]): Configs of :class:`BatchTransform`, such as
            ``dict(type='BatchRandomFlip')``. Defaults to none.
        **kwargs: ``mean``, ``std``, ``pad_size_divisor``, ``pad_value``,
            ``to_rgb``, ``to_onehot``, ``num_classes`` and ``batch_augments`` of
            :class:`mmpretrain.models.ClsDataPreprocessor`.

    Raises:
        UserError: If ``augments`` has a wrong value or unknown key, or a batch
            is not one tensor of images.
    """

    def __init__(self, augments: Sequence[dict] = (), **kwargs):
        super().__init__(**kwargs)
        if not isinstance(augments, list | tuple):
            raise should_be('data_preprocessor.augments', augments, 'a list of configs')
        self.augments = nn.ModuleList(
            build_strict(MODELS, cfg, f'data_preprocessor.augments[{i}]', BatchTransform)
            for i, cfg in enumerate(augments)
        )
        # The host need not wait for the device to take a batch from pinned memory.
        self._non_blocking = True

    def forward(self, data: dict, training: bool = False) -> dict:
        """Move a batch to the device, augment it in training, and normalise it.

        Args:
            data (dict): ``inputs``, (N, C, H, W) with values from 0 to 255; and
                either ``gt_label``, int64 (N, ), or ``data_samples``, N
                DataSamples, or neither.
            training (bool): Whether to augment. Defaults to False.

        Returns:
            dict: ``inputs``, float32 (N, C, H, W), and ``data_samples``, a list, or None
            if the batch has no labels.
        """
        images = self._checked(self.cast_data(data['inputs']))
        if training:
            for augment in self.augments:
                images = augment(images)
        samples, joined = data.get('data_samples'), 'gt_label' in data
        if joined:
            # Views of the one tensor on the device.
            labels = self.cast_data(data['gt_label']).view(-1, 1).unbind()
            samples = [DataSample().set_gt_label(label) for label in labels]
        if not joined or self.to_onehot:
            return super().forward(dict(inputs=images, data_samples=samples), training)
        # The base class would join the labels again only to split them again.
        normalized = super().forward(dict(inputs=images), training)
        return dict(inputs=normalized['inputs'], data_samples=samples)

    def _checked(self, images: torch.Tensor) -> torch.Tensor:
        if isinstance(images, torch.Tensor) and images.ndim == 4:
            return images
        found = f'in a {type(images).__name__}'
        if isinstance(images, torch.Tensor):
            found = f'of shape {tuple(images.shape)}'
        raise UserError(
            f'{type(self).__name__} got images {found}, it needs one tensor (N, C, H, W): '
            "collate_fn of the dataloader should be dict(type='in_memory_collate') with an "
            "InMemoryDataset, else dict(type='default_collate')"
        )
