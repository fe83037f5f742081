"""Download and unpack the files of a published data set."""

import os
import os.path as osp
import tarfile
from http.client import HTTPException
from tempfile import TemporaryDirectory

from mmpretrain.datasets.utils import check_md5, download_url_to_file

from .official_files import reading, require_file


def download_file(url: str, path: str, md5: str) -> None:
    """Download a file with a progress bar and move it in place once verified.

    Args:
        url (str): Address of the file.
        path (str): Where to put it; must not exist. Its folder is made.
        md5 (str): Official checksum in hex.

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
            if not check_md5(part, md5):
                raise RuntimeError(f'{url} gave a file without the official md5 {md5}.')
            os.rename(part, path)
    except (OSError, HTTPException) as error:
        raise RuntimeError(f'{url} cannot be downloaded to {path} ({error}).') from None


def unpack_folder(archive: str, folder: str) -> None:
    """Unpack a folder from a tar archive; it appears only when it is complete.

    Args:
        archive (str): The tar file, compressed or not.
        folder (str): The folder to make; the archive has it, by its last name,
            at its top.

    Raises:
        RuntimeError: If the archive cannot be read or lacks the folder.
    """
    with reading(archive), TemporaryDirectory(dir=osp.dirname(folder)) as scratch:
        with tarfile.open(archive) as tar:
            # Python 3.11 has the safe filter only in its later releases.
            tar.extraction_filter = getattr(tarfile, 'data_filter', None)
            tar.extractall(scratch)
        os.rename(osp.join(scratch, osp.basename(folder)), folder)


def fetch_folder(
    folder: str, archive: str, url: str, md5: str, download: bool, verify: bool
) -> None:
    """Make sure that a data set's folder is there.

    A folder that exists is not touched. Otherwise the archive is unpacked, and
    downloaded before if it is not there.

    Args:
        folder (str): The folder.
        archive (str): The tar file that holds it, beside it.
        url (str): Address of the archive.
        md5 (str): Official checksum of the archive in hex.
        download (bool): Whether to download.
        verify (bool): Whether an archive that is there must have the checksum;
            a downloaded one must in any case.

    Raises:
        RuntimeError: If the folder cannot be provided.
    """
    if osp.isdir(folder):
        return
    if osp.exists(archive):
        require_file(archive, md5 if verify else None)
    else:
        require_download(folder, download)
        download_file(url, archive, md5)
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
