"""One key for a folder of your own images: what else in the config follows from it."""

from pathlib import Path

from mmengine import fileio
from mmengine.config import Config

from mman.datasets.image_folder import folder_classes
from mman.utils import integer_from, should_be
from mman.utils.signature import check_keys

_SMALLEST = 8
# What ImageNet's recipe tests on: 224 from the middle of 256.
_CROP = 224 / 256


def apply_image_folder(cfg: Config) -> None:
    """Replace the config's ``image_folder``, if it has one, by the keys that it stands for.

    The key is a dict: ``root``, the folder; ``image_size``, the side of the
    square that the network is given; ``val_fraction`` and ``split_seed``, see
    :class:`mman.datasets.ImageFolder`. From it follow the folder, classes and
    sizes of all data sets, the numbers of classes, and ``model.input_shape``.
    Where there is no such folder, the classes stay as they are: the network can
    be looked at, but building a data set fails.

    Raises:
        UserError: If a key is wrong.
        DataError: If the folder is there, and is no folder of classes.
    """
    section = cfg.pop('image_folder', None)
    if section is None:
        return
    drawn = dict(section)
    check_keys(drawn, 'image_folder', _section, extra=())
    size, root = drawn.pop('image_size'), drawn.pop('root')
    integer_from(_SMALLEST, 'image_folder.image_size', size)
    if not isinstance(root, str) or not root:
        raise should_be('image_folder.root', root, 'the path of a folder')
    classes = folder_classes(root) if fileio.isdir(Path(root).expanduser()) else None
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader is not None:
            loader.dataset.update(data_root=root, classes=classes, **drawn)
            for step in loader.dataset.get('pipeline', ()):
                _resize(step, size)
    cfg.model.input_shape = (3, size, size)
    if classes is not None:
        cfg.model.head.num_classes = cfg.data_preprocessor.num_classes = len(classes)


def _section(root, image_size, val_fraction=0.0, split_seed=0) -> None:
    """The keys of ``image_folder``."""


def _resize(step: dict, size: int) -> None:
    """Set the size of a transform that has one."""
    kind = step['type']
    if kind == 'RandomResizedCrop':
        step['scale'] = size
    elif kind == 'ResizeEdge':
        step['scale'] = round(size / _CROP)
    elif kind in ('CenterCrop', 'RandomCrop'):
        step['crop_size'] = size
