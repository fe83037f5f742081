"""Base classes of the data sets that are read from published files."""

import os.path as osp
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from mmpretrain.datasets import BaseDataset
from mmpretrain.datasets.utils import calculate_md5

from mman.utils import DataError, UserError
from mman.utils.all_ranks import run_on_all_ranks
from mman.utils.atomic_file import sha256_of

from .choosing import ChoosesSamples
from .fetching import download_file, unpack_folder
from .key_checks import require_choice
from .official_files import require_samples, require_sum
from .official_sums import SHA256


class OfficialDataset(ChoosesSamples, BaseDataset):
    """A data set whose published files are fetched, verified and read.

    A subclass sets ``METAINFO['classes']``, :attr:`SPLITS` and :attr:`image_shape`, and implements
    the two methods at the end. From :attr:`COUNTS` and :attr:`image_shape` mistakes of a config are
    seen before anything is read. Files that exist are never overwritten.

    Args:
        data_root (str): Local folder of the data set; ``~`` is expanded.
        split (str): One of :attr:`SPLITS`. It alone selects the samples, not
            ``test_mode``. Defaults to 'train'.
        download (bool): Whether to download what is missing. Defaults to True.
        verify (bool): Whether files must have the official checksums. False
            accepts others, such as re-encoded copies. Defaults to True.
        per_class (int | None): Draw as many samples of every class. Defaults to None, all.
        per_class_seed (int): What they are drawn with. Defaults to 0.
        **kwargs: Other keys of :class:`mmpretrain.datasets.BaseDataset` but those of files.

    Raises:
        UserError: If a key has a wrong value.
        DataError: If the files are missing, differ or cannot be read. Every
            process of a distributed run raises.
    """

    SPLITS: tuple[str, ...] = ('train', 'test')
    #: Samples of every split as published.
    COUNTS: dict[str, int] = {}
    #: (H, W, C) of every image.
    image_shape: tuple[int, int, int]

    def __init__(
        self,
        data_root: str = '',
        split: str = 'train',
        *,
        download: bool = True,
        verify: bool = True,
        per_class: int | None = None,
        per_class_seed: int = 0,
        indices: int | Sequence[int] | None = None,
        **kwargs,
    ):
        if not isinstance(data_root, str) or not data_root or '://' in data_root:
            raise UserError(
                f'{type(self).__name__}: data_root={data_root!r} must be the path of a '
                "local folder, such as 'data/cifar10'."
            )
        require_choice(self, 'split', split, self.SPLITS)
        require_choice(self, 'download', download, (True, False))
        require_choice(self, 'verify', verify, (True, False))
        self.split, self.download, self.verify = split, download, verify
        self.choose_per_class(per_class, per_class_seed, indices)
        # Called by name, since a subclass may also inherit from a data set of
        # mmpretrain, whose own constructor knows fewer keys.
        BaseDataset.__init__(
            self,
            ann_file='',
            data_root=osp.expanduser(data_root),
            data_prefix=dict(root=''),
            indices=indices,
            **kwargs,
        )

    def known_length(self) -> int | None:
        """Samples that there will be; None for files that need not be the published ones.

        Raises:
            UserError: If ``indices`` names a sample that is not there.
        """
        published = self.COUNTS.get(self.split) if self.verify else None
        return None if published is None else self.length_of(published)

    def load_data_list(self) -> list[dict]:
        """Fetch, verify and read the split.

        Returns:
            list[dict]: Per sample ``img``, uint8 of shape (H, W, C) in RGB
            order, and ``gt_label``, an int.

        Raises:
            DataError: If the files are missing, differ or cannot be read.
        """
        run_on_all_ranks(lambda: self._explain(self._fetch), main_only=True)
        images, labels = run_on_all_ranks(lambda: self._explain(self._read))
        return [
            dict(img=img, gt_label=int(label)) for img, label in zip(images, labels, strict=True)
        ]

    def _explain(self, step: Callable):
        try:
            return step()
        except RuntimeError as error:
            message = f'{type(self).__name__}: {error} Put {self._needs()} into {self.data_root!r}.'
        if self.verify:
            message += (
                ' verify=False accepts files that differ from the official ones, '
                'such as re-encoded copies.'
            )
        raise DataError(message)

    def _needs(self) -> str:
        """What a user has to put into ``data_root``, in words."""
        return ' and '.join(name for name, *_ in self._files())

    def _fetch(self) -> None:
        """Download or unpack what is missing; runs in rank 0 only."""
        for name, _, url in self._files():
            if not osp.exists(self._path(name)):
                self._download(url, self._path(name), self._path(name))

    def _download(self, url: str, path: str, missing: str) -> None:
        if not self.download:
            parent = osp.dirname(missing)
            missing = missing if osp.isdir(parent) else f'{missing} (and all of {parent})'
            raise RuntimeError(f'{missing} is missing, and download=False.')
        download_file(url, path)

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        """Images, uint8 (N, H, W, C), and labels, integers (N, )."""
        paths, images, labels = [self._path(name) for name, *_ in self._files()], [], []
        for path, (_, md5, _) in zip(paths, self._files(), strict=True):
            if not osp.isfile(path):
                raise RuntimeError(f'{path} is missing.')
            if self.verify:
                require_sum(path, 'md5', self._md5(path), md5)
        for path, *part in self._parse(paths):
            require_samples(path, *part, self.image_shape, len(self.METAINFO['classes']))
            images.append(part[0])
            labels.append(part[1])
        # Pixel order in memory as in shape, which not every file has.
        return np.ascontiguousarray(np.concatenate(images)), np.concatenate(labels)

    def _path(self, name: str) -> str:
        return osp.join(self.data_root, name)

    def _md5(self, path: str) -> str:
        return calculate_md5(path)

    @abstractmethod
    def _files(self) -> list[tuple[str, str, str]]:
        """Name, MD5 in hex and URL of every file of the split."""

    @abstractmethod
    def _parse(self, paths: list[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Read the files: per part what an error calls it, its images and its labels."""


class ArchivedDataset(OfficialDataset):
    """One whose files come as a folder in a tar archive.

    The folder that exists is not touched. Otherwise the archive is unpacked,
    and downloaded before if it is not there.

    A subclass has, from whoever publishes the data set in Python, the folder ``base_folder``, the
    archive ``filename`` at ``url``, a name in :data:`.SHA256`, and the names and MD5s of the files
    in the folder, ``train_list`` and ``test_list``.
    """

    def _needs(self) -> str:
        return f'the folder {self.base_folder}/ or the archive {self.filename}'

    def _fetch(self) -> None:
        folder = osp.join(self.data_root, self.base_folder)
        archive = osp.join(self.data_root, self.filename)
        if osp.isdir(folder):
            return
        if not osp.exists(archive):
            self._download(self.url, archive, folder)
        elif self.verify:
            require_sum(archive, 'sha256', sha256_of(archive), SHA256[self.filename])
        unpack_folder(archive, folder)

    def _path(self, name: str) -> str:
        return osp.join(self.data_root, self.base_folder, name)

    def _files(self) -> list[tuple[str, str, str]]:
        files = self.train_list if self.split == 'train' else self.test_list
        return [(name, md5, '') for name, md5 in files]
