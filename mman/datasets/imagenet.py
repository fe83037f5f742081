"""ImageNet, and other sets of images in folders like its own."""

import os.path as osp
from collections.abc import Sequence

import mmpretrain.datasets as mmpretrain_datasets
from mmengine import fileio
from mmengine.logging import MMLogger
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from mmpretrain.datasets.custom import find_folders, get_samples

from mman.registry import DATASETS
from mman.utils.all_ranks import run_on_all_ranks
from mman.utils.errors import DataError, UserError, few

from .choosing import ChoosesSamples
from .key_checks import require_choice


@DATASETS.register_module()
class ImageNet(ChoosesSamples, mmpretrain_datasets.ImageNet):
    """ImageNet-1k, or a set of other classes in such a folder.

    The folder holds ``train/`` and ``val/``, and in each a folder of images for
    every class; or images anywhere in the two and beside them ``meta/train.txt``
    and ``meta/val.txt``, with a path and a label on every line.

    Beside mmpretrain's class of the same name, ``classes`` names the folders and
    numbers the labels, a folder that does not fit is refused in one line, and
    'test' has labels as the other splits have.

    Source of ImageNet: https://www.image-net.org

    Args:
        data_root (str): Folder of the data set; ``~`` is expanded.
        split (str): 'train', 'val' or 'test'. Defaults to 'train'.
        data_prefix (str): Folder of the images in ``data_root``. Defaults to the name of the split.
        ann_file (str): File of paths and labels. Defaults to
            ``meta/<split>.txt`` if there is one, else the folders tell.
        classes (str | Sequence[str] | None): Folders of the classes in the order of their labels,
            or a file that has one on every line. Defaults to None, the 1000 classes of ImageNet,
            labelled in the alphabetical order of the folders.
        per_class (int | None): Draw as many samples of every class. Defaults to None, all.
        per_class_seed (int): What they are drawn with. Defaults to 0.
        **kwargs: Other keys of :class:`mmpretrain.datasets.CustomDataset`.

    Raises:
        UserError: If a key has a wrong value.
        DataError: If folders, images or labels are missing or do not fit. Every
            process of a distributed run raises.
    """

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        data_prefix: str = '',
        ann_file: str = '',
        classes: str | Sequence[str] | None = None,
        per_class: int | None = None,
        per_class_seed: int = 0,
        indices: int | Sequence[int] | None = None,
        **kwargs,
    ):
        if not isinstance(data_root, str) or not data_root:
            raise UserError(
                f'{type(self).__name__}: data_root={data_root!r} should be the path of a folder, '
                "such as 'data/imagenet'."
            )
        require_choice(self, 'split', split, ('train', 'val', 'test'))
        data_root = osp.expanduser(data_root)
        listing = osp.join('meta', f'{split}.txt')
        if not ann_file and fileio.exists(fileio.join_path(data_root, listing)):
            ann_file = listing
        self.choose_per_class(per_class, per_class_seed, indices)
        # Without ``split``: mmpretrain's class takes 'test' for unlabelled.
        super().__init__(
            data_root=data_root,
            data_prefix=data_prefix or split,
            ann_file=ann_file,
            classes=self._checked(classes),
            indices=indices,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Find the images and their labels.

        Returns:
            list[dict]: Per image ``img_path``, and ``gt_label``, an int.

        Raises:
            DataError: If folders, images or labels are missing or do not fit.
        """
        return run_on_all_ranks(self._load if self.with_label else super().load_data_list)

    def _checked(self, classes: str | Sequence[str] | None) -> tuple[str, ...] | None:
        """The names of the classes, read from their file if need be."""
        if classes is None:
            return None
        fault = None
        if isinstance(classes, str) and not fileio.isfile(classes):
            fault = 'is not a file'
        else:
            names = fileio.list_from_file(classes) if isinstance(classes, str) else classes
            if not names or not all(isinstance(name, str) and name for name in names):
                fault = 'has something else than names, or none'
            elif len(set(names)) < len(names):
                fault = 'has a name twice'
        if fault:
            raise UserError(
                f'{type(self).__name__}: classes={classes!r} {fault}; it should be the names of '
                "the classes' folders, or a file that has one on every line."
            )
        return tuple(names)

    def _error(self, fault: str) -> DataError:
        return DataError(f'{type(self).__name__}: {fault}')

    def _load(self) -> list[dict]:
        if not fileio.isdir(self.img_prefix):
            raise self._error(
                f'the folder {self.img_prefix} is missing. data_root={self.data_root!r} should '
                'hold train/ and val/, and in each a folder of images for every class.'
            )
        samples = self._from_file() if self.ann_file else self._from_folders()
        if not samples:
            kinds = ', '.join(sorted(self.extensions))
            raise self._error(f'{self.ann_file or self.img_prefix} has no images ({kinds}).')
        # Once, since fileio.join_path looks for it anew for every image.
        backend = fileio.get_file_backend(self.img_prefix, enable_singleton=True)
        return [
            dict(img_path=backend.join_path(self.img_prefix, path), gt_label=label)
            for path, label in samples
        ]

    def _from_file(self) -> list[tuple[str, int]]:
        """Paths and labels that the file lists."""
        if not fileio.isfile(self.ann_file):
            raise self._error(f'the file {self.ann_file} is missing.')
        samples, count = [], len(self.CLASSES)
        for number, line in enumerate(fileio.list_from_file(self.ann_file), 1):
            path, _, label = line.strip().rpartition(' ')
            if not path or not label.isdecimal() or int(label) >= count:
                raise self._error(
                    f'line {number} of {self.ann_file} is {line!r}; it should be a path and a '
                    f'label from 0 to {count - 1}.'
                )
            samples.append((path, int(label)))
        return samples

    def _from_folders(self) -> list[tuple[str, int]]:
        """Paths and labels of the images in the folders of the classes."""
        where, named = self.img_prefix, self.CLASSES
        found, labels = find_folders(where)
        folders = [name for name in found if not name.startswith('.')]
        if tuple(named) != tuple(IMAGENET_CATEGORIES):
            labels = self.class_to_idx
            missing = few(sorted(set(named) - set(folders)))
            unknown = few(sorted(set(folders) - set(named)))
            if missing:
                raise self._error(f'{where} has no folder {missing}, which classes names.')
            if unknown:
                raise self._error(f'{where} has the folder {unknown}, which classes does not name.')
        elif len(folders) != len(named):
            raise self._error(
                f'{where} has {len(folders)} folders, but ImageNet has {len(named)} classes. For '
                'classes of your own, set the key classes in train_, val_ and '
                'test_dataloader.dataset alike to the names of their folders.'
            )
        samples, empty = get_samples(where, labels, self.is_valid_file)
        if empty:
            MMLogger.get_current_instance().warning(
                f'{where}: no images in the folder of {few(sorted(empty))}'
            )
        return samples
