"""Download and unpack the files of a published data set."""

import os
import os.path as osp
import platform
import tarfile
from http.client import HTTPException
from tempfile import TemporaryDirectory

from mmpretrain.datasets.utils import download_url_to_file

from .official_files import reading, require_sha256, sha256_of
from .official_sums import SHA256


def download_file(url: str, path: str) -> None:
    """Download a file with a progress bar and move it in place once verified.

    Args:
        url (str): Address of the file.
        path (str): Where to put it; must not exist. Its folder is made. Its
            name is one in :data:`.SHA256`, which has the checksum.

    Raises:
        RuntimeError: If the download fails or has another checksum; nothing
            is left behind then.
    """
    folder = osp.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
        with TemporaryDirectory(dir=folder) as scratch:
            part = osp.join(scratch, osp.basename(path))
            download_url_to_file(url, part)
            official, found = SHA256[osp.basename(path)], sha256_of(part)
            if found != official:
                raise RuntimeError(
                    f'{url} gave a file with the sha256 {found}, not the official {official}.'
                )
            os.rename(part, path)
    except (OSError, HTTPException) as error:
        raise RuntimeError(f'{url} cannot be downloaded to {path} ({error}).') from None


def unpack_folder(archive: str, folder: str) -> None:
    """Unpack a folder from a tar archive; it appears only when it is complete.

    Nothing is written outside of it: an archive with links, devices, or names
    that lead elsewhere is refused.

    Args:
        archive (str): The tar file, compressed or not.
        folder (str): The folder to make; the archive has it, by its last name,
            at its top.

    Raises:
        RuntimeError: If the archive cannot be read or lacks the folder.
    """
    if not hasattr(tarfile, 'data_filter'):
        raise RuntimeError(
            f'{archive} cannot be unpacked safely by Python {platform.python_version()}: unpack it '
            'by hand, or use Python 3.11.4 or later.'
        )
    with reading(archive), TemporaryDirectory(dir=osp.dirname(folder)) as scratch:
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter=_files_and_folders)
        os.rename(osp.join(scratch, osp.basename(folder)), folder)


def _files_and_folders(member: tarfile.TarInfo, scratch: str) -> tarfile.TarInfo:
    """tarfile's filter for data, without links, by which archives have got round it."""
    if not (member.isfile() or member.isdir()):
        raise tarfile.SpecialFileError(member)
    return tarfile.data_filter(member, scratch)


def fetch_folder(folder: str, archive: str, url: str, download: bool, verify: bool) -> None:
    """Make sure that a data set's folder is there.

    A folder that exists is not touched. Otherwise the archive is unpacked, and
    downloaded before if it is not there.

    Args:
        folder (str): The folder.
        archive (str): The tar file that holds it, beside it. Its name is one
            in :data:`.SHA256`, which has the checksum.
        url (str): Address of the archive.
        download (bool): Whether to download.
        verify (bool): Whether an archive that is there must have the checksum;
            a downloaded one must in any case.

    Raises:
        RuntimeError: If the folder cannot be provided.
    """
    if osp.isdir(folder):
        return
    if osp.exists(archive):
        if verify:
            require_sha256(archive, SHA256[osp.basename(archive)])
    else:
        require_download(folder, download)
        download_file(url, archive)
    unpack_folder(archive, folder)


def require_download(path: str, download: bool) -> None:
    """Refuse to go on without a file or folder that may not be downloaded.

    Args:
        path (str): The file or folder that is missing.
        download (bool): Whether it may be downloaded.

    Raises:
        RuntimeError: If it may not; says whether even its parent is missing.
    """
    if download:
        return
    parent = osp.dirname(path)
    missing = path if osp.isdir(parent) else f'{path} (and all of {parent})'
    raise RuntimeError(f'{missing} is missing, and download=False.')
