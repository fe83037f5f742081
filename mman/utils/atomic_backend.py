"""A place for mmengine to put checkpoints in, where none is ever half there."""

import io
from pathlib import Path

import torch
from mmengine.fileio import LocalBackend, register_backend

from .atomic_file import sealed, write_atomically
from .checkpoint import UNSAFE, safe_globals
from .errors import UserError
from .safe_loading import weights_only_is_forced

ATOMIC = 'mman_atomic'


@register_backend(ATOMIC, force=True)
class AtomicBackend(LocalBackend):
    """Local files, each whole or absent, with their SHA-256 inside.

    For checkpoints alone: ``put`` takes what torch.save wrote.
    """

    def put(self, obj: bytes, filepath: str) -> None:
        """Write what torch.save wrote, after making sure that it could be loaded again.

        Raises:
            UserError: If ``--resume`` would refuse to load it, or it cannot be written. An
                earlier file of that name is left.
        """
        if weights_only_is_forced():
            _check_loads(obj, str(filepath))
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(filepath, sealed(obj))


def _check_loads(obj: bytes, filepath: str) -> None:
    try:
        with torch.serialization.safe_globals(safe_globals()):
            torch.load(io.BytesIO(obj), map_location='meta', weights_only=True)
    except Exception as error:
        raise UserError(
            f'checkpoint {filepath!r} was not written: it could not be loaded again '
            f'({str(error).splitlines()[0]}). A hook put more than tensors, numbers, text and '
            f'containers into it; change that, or train with {UNSAFE}'
        ) from error
