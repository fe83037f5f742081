"""A folder of your own images, split if it is not."""

import os.path as osp
from collections.abc import Sequence

import numpy as np
from mmengine import fileio
from mmengine.logging import MMLogger
from mmpretrain.datasets.custom import find_folders

from mman.registry import DATASETS
from mman.utils import DataError, UserError

from .imagenet import ImageNet


@DATASETS.register_module()
class ImageFolder(ImageNet):
    """Images in a folder for every class, with or without folders of splits above them.

    Either ``train/``, ``val/`` and perhaps ``test/`` hold a folder of images for every class, or
    ``data_root`` itself does. Then a part of every class, drawn by ``split_seed``, is 'val', and
    the rest 'train'. Without a folder ``test/``, 'test' is 'val'.

    Args:
        data_root (str): The folder; ``~`` is expanded.
        split (str): 'train', 'val' or 'test'. Defaults to 'train'.
        classes (Sequence[str] | None): Folders of the classes in the order of
            their labels. Defaults to None, all in alphabetical order.
        val_fraction (float): Part of every class, above 0 and below 1, that is 'val' where there
            are no folders of splits; at least one image, and never all of them. Defaults to 0.2.
        split_seed (int): What the part is drawn with. Defaults to 0.
        **kwargs: Other keys of :class:`ImageNet`.

    Raises:
        UserError: If a key has a wrong value.
        DataError: If folders or images are missing or do not fit.
    """

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        classes: Sequence[str] | None = None,
        val_fraction: float = 0.2,
        split_seed: int = 0,
        **kwargs,
    ):
        # No integer is between them, True neither.
        if not isinstance(val_fraction, float) or not 0 < val_fraction < 1:
            raise UserError(
                f'ImageFolder: val_fraction={val_fraction!r} should be a number above 0 and below 1'
            )
        if type(split_seed) is not int or not 0 <= split_seed < 2**32:
            raise UserError(
                f'ImageFolder: split_seed={split_seed!r} should be an integer from 0 to 2**32 - 1'
            )
        data_root = osp.expanduser(data_root)
        self.part, self.val_fraction, self.split_seed = split, val_fraction, split_seed
        self.has_splits = has_split_folders(data_root)
        folder = split
        if split == 'test' and not (self.has_splits and _is_folder(data_root, 'test')):
            folder = 'val'
        parent, name = (data_root, folder) if self.has_splits else osp.split(osp.abspath(data_root))
        super().__init__(
            data_root=parent,
            split=folder,
            data_prefix=name,
            classes=classes or folder_classes(data_root),
            **kwargs,
        )

    def _from_folders(self) -> list[tuple[str, int]]:
        samples = super()._from_folders()
        return samples if self.has_splits else self._drawn(samples)

    def _drawn(self, samples: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """The part of every class that this split is."""
        kept: list[tuple[str, int]] = []
        for label, name in enumerate(self.CLASSES):
            of_class = [sample for sample in samples if sample[1] == label]
            if len(of_class) < 2:
                raise self._error(
                    f'the class {name} has {len(of_class)} images; to split it needs two or more'
                )
            # A class keeps its part when another one is added.
            generator = np.random.default_rng([self.split_seed, *name.encode()])
            order = generator.permutation(len(of_class))
            count = min(max(1, round(self.val_fraction * len(of_class))), len(of_class) - 1)
            chosen = order[count:] if self.part == 'train' else order[:count]
            kept += [of_class[i] for i in sorted(chosen)]
        MMLogger.get_current_instance().info(
            f'{self.img_prefix}: {len(kept)} of {len(samples)} images in {len(self.CLASSES)} '
            f'classes are {self.part!r} (val_fraction={self.val_fraction}, '
            f'split_seed={self.split_seed})'
        )
        return kept


def has_split_folders(root: str) -> bool:
    """Whether a folder holds ``train/`` and ``val/``.

    Raises:
        DataError: If it is missing, or holds one of them alone.
    """
    if not fileio.isdir(root):
        raise DataError(
            f'the folder {root!r} is missing; it should hold your images: give --data FOLDER, or '
            'image_folder.root in the config'
        )
    found = [name for name in ('train', 'val') if _is_folder(root, name)]
    if len(found) == 1:
        raise DataError(
            f'the folder {root!r} has {found[0]}/ alone; it should have train/ and val/, or a '
            'folder of images for every class'
        )
    return bool(found)


def folder_classes(root: str) -> tuple[str, ...]:
    """The names of the classes of a folder, in the order of their labels.

    Raises:
        DataError: If there are fewer than two, or the folder is missing.
    """
    path = fileio.join_path(root, 'train') if has_split_folders(root) else root
    names = [name for name in find_folders(path)[0] if not name.startswith('.')]
    if len(names) < 2:
        raise DataError(
            f'the folder {path!r} has {len(names)} folders; it should have one for every class, '
            'two or more'
        )
    return tuple(names)


def _is_folder(root: str, name: str) -> bool:
    return fileio.isdir(fileio.join_path(root, name))
