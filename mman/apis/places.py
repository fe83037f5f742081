"""The places that a run writes to: tried before it starts, and held by one training."""

import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mmengine.config import Config

from mman.utils.atomic_file import remove_leftovers
from mman.utils.errors import UserError

from .config import warn
from .distributed import launcher_rank

LOCK = '.mman-lock'
_LOGS = 'default_hooks.logger.out_dir'
_FULL = (errno.ENOSPC, errno.EDQUOT)
# Errors that only writing has.
_OF_WRITING = (*_FULL, errno.EFBIG, errno.EROFS)


@contextmanager
def held_places(cfg: Config) -> Iterator[None]:
    """Hold the folders of a training: its work dir, and where its checkpoints go.

    Rank 0 alone locks them, until the end or until it is killed, by a lock that
    data workers do not inherit. Under the lock it removes the temporary files of
    killed trainings.

    Raises:
        UserError: If a folder is held by another training or cannot be written
            to, at first or while it is held.
    """
    places = _places(cfg)
    with ExitStack() as stack, write_errors(*places.values()):
        if launcher_rank(cfg) == 0:
            for key, place in places.items():
                try_place(place, key)
                # What goes to the logger's out_dir has the time in its name.
                if key != _LOGS:
                    stack.enter_context(locked(place, f'{key}={str(place)!r}'))
        yield


@contextmanager
def write_errors(*places: str | Path) -> Iterator[None]:
    """Turn the system's error on what cannot be written into one line.

    That is any error on a file in these places, and every error that only writing has. The
    first place is named where the system names none.
    """
    try:
        yield
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else None
        within = name is not None and any(
            Path(name).absolute().is_relative_to(Path(place).absolute()) for place in places
        )
        if not within and error.errno not in _OF_WRITING:
            raise
        raise _unwritable(repr(str(name or places[0])), error) from error


def try_place(folder: str | Path, key: str) -> None:
    """Make a folder, which errors call ``key``, and write to it what leaves no trace."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    # A ValueError is a character that no path has.
    except (OSError, ValueError) as error:
        raise _unwritable(f'{key}={str(folder)!r}', error) from error


def _unwritable(place: str, error: OSError | ValueError) -> UserError:
    advice = 'make room there, or give' if getattr(error, 'errno', None) in _FULL else 'give'
    reason = getattr(error, 'strerror', error)
    return UserError(f'{place} cannot be written ({reason}): {advice} another place')


@contextmanager
def locked(folder: str | Path, named: str) -> Iterator[None]:
    """Keep other trainings out of a folder, and remove what killed ones left in it.

    Raises:
        UserError: If another training holds it, which it calls ``named``.
    """
    with open(Path(folder) / LOCK, 'a+') as file:
        try:
            # No flock: forked workers keep that alive when the training itself is killed.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            raise UserError(
                f'{named} is in use by another training ({file.read(100)}): wait for its end, or '
                'give another place'
            ) from error
        except OSError as error:
            warn(f'{named} cannot be locked ({error.strerror}): start no other there')
        else:
            file.truncate(0)
            file.write(f'process {os.getpid()} on {socket.gethostname()}')
            file.flush()
            remove_leftovers(folder)
        yield


def _places(cfg: Config) -> dict[str, str]:
    """Local folders by the key that names them; hooks add the name of the work dir to theirs."""
    work_dir = os.path.abspath(cfg.work_dir)
    places = {'work_dir': cfg.work_dir}
    for key in ('default_hooks.checkpoint.out_dir', _LOGS):
        hook = (cfg.get('default_hooks') or {}).get(key.split('.')[1]) or {}
        folder = hook.get('out_dir')
        if folder is None:
            continue
        if not isinstance(folder, str | Path) or not str(folder):
            raise UserError(f'{key}={folder!r} should be the path of a folder')
        if '://' in str(folder) or str(folder) == work_dir:
            continue
        place = os.path.join(folder, os.path.basename(work_dir))
        if os.path.realpath(place) != os.path.realpath(work_dir):
            places[key] = place
    return places
