"""Download and unpack the files of a published data set."""

import os
import os.path as osp
import platform
import tarfile
from http.client import HTTPException
from tempfile import TemporaryDirectory

from torch.hub import download_url_to_file

from .official_files import reading
from .official_sums import SHA256


def download_file(url: str, path: str) -> None:
    """Download a file with a progress bar and move it in place once verified.

    The folder of ``path`` is made. Its name is one in :data:`.SHA256`, which has the checksum.

    Raises:
        RuntimeError: If the download fails or has another checksum; nothing is left behind then.
    """
    try:
        os.makedirs(osp.dirname(path), exist_ok=True)
        download_url_to_file(url, path, SHA256[osp.basename(path)])
    except (OSError, HTTPException, RuntimeError) as error:
        raise RuntimeError(f'{url} cannot be downloaded to {path} ({error}).') from None


def unpack_folder(archive: str, folder: str) -> None:
    """Unpack a folder from a tar archive; it appears only when it is complete.

    The archive, compressed or not, has it by its last name at its top. Nothing is written
    outside of it: an archive with links, devices, or names that lead elsewhere is refused.

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
