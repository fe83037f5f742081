"""Files that are there whole or not at all, and that show any change."""

import hashlib
import os
import secrets
import zipfile
from pathlib import Path

from .errors import UserError

# A name like nobody else's: a work dir may hold temporary files of other programs.
SUFFIX = '.mman-tmp'
_MARK = b'mman-sha256:'
_DIGITS = 64
# The last part of a zip file: its signature, 16 bytes, and the length of the comment after it.
_END, _END_SIZE = b'PK\x05\x06', 22


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file so that its name has the old content or all of the new.

    The bytes go to a file beside it, are forced to the disk and read back, and only then
    renamed. Of two writers the last one wins, with all of its bytes.

    Raises:
        UserError: If the disk is full, the folder cannot be written, or what
            is read back differs. What ``path`` held is still there, and the
            temporary file is gone.
    """
    path = Path(path)
    temporary = path.with_name(f'{path.name}.{secrets.token_hex(4)}{SUFFIX}')
    try:
        with temporary.open('xb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if sha256_of(temporary) != hashlib.sha256(content).hexdigest():
            raise OSError('it reads back differently')
        os.replace(temporary, path)
        # The new name too is forced to the disk.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise UserError(
            f'{str(path)!r}, {len(content):,} bytes, could not be written '
            f'({error.strerror or error}); earlier files are as they were. Make room, then go on'
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


class GrowingFile:
    """A file that is written piece by piece beside its place, and has its name when it is whole.

    Args:
        path (str | Path): Its place.

    Attributes:
        size (int): Bytes written so far.
    """

    def __init__(self, path: str | Path):
        self.path, self.size = Path(path), 0
        self._temporary = self.path.with_name(f'{self.path.name}.{secrets.token_hex(4)}{SUFFIX}')
        self._sum, self._file = hashlib.sha256(), self._temporary.open('xb')

    def write(self, content: bytes) -> None:
        """Add bytes."""
        self._file.write(content)
        self._sum.update(content)
        self.size += len(content)

    def finish(self) -> str:
        """Force all to the disk and rename the file; its SHA-256 in hex."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self.path)
        return self._sum.hexdigest()

    def discard(self) -> None:
        """Remove what was written, unless it was finished."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file in hex."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def remove_leftovers(folder: str | Path) -> None:
    """Remove what killed writers left in a folder; none may be writing there."""
    for left in Path(folder).glob(f'*{SUFFIX}'):
        left.unlink()


def sealed(content: bytes) -> bytes:
    """A zip file, as torch.save writes, with its own SHA-256 as its comment.

    Every reader passes over the comment. Anything else is returned as it is.
    """
    if content[-_END_SIZE:-18] != _END:
        return content
    body = content[:-2] + (len(_MARK) + _DIGITS).to_bytes(2, 'little') + _MARK
    return body + hashlib.sha256(body).hexdigest().encode()


def require_whole(path: str | Path) -> None:
    """Refuse a damaged file of torch.save, as far as its bytes tell.

    A sealed file is compared with its SHA-256. Of another zip file the checksums of its
    members are checked. An old-style file has nothing to check.

    Raises:
        ValueError: If it is damaged; zipfile may raise others.
    """
    content = Path(path).read_bytes()
    body, digest = content[:-_DIGITS], content[-_DIGITS:]
    if not content:
        raise ValueError('it is empty')
    if body.endswith(_MARK):
        if hashlib.sha256(body).hexdigest().encode() != digest:
            raise ValueError('its content does not match its SHA-256')
    elif content[:2] == b'PK' or _END in content[-256:]:
        # It ends in its last part, and in no bytes of a comment.
        if content[-_END_SIZE:-18] != _END or content[-2:] != bytes(2):
            raise ValueError('it is cut off or its end is damaged')
        with zipfile.ZipFile(path) as file:
            member = file.testzip()
        if member is not None:
            raise ValueError(f'the checksum of {member!r} in it is wrong')
