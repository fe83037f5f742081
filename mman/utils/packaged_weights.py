"""Weights that come with the package, each named as the config that trained it."""

import hashlib
from pathlib import Path

import mman

from .errors import UserError

#: A file ``NAME.pth`` for each config NAME that has weights, and their list.
WEIGHTS = Path(mman.__file__).parent / 'weights'
#: The list, as ``sha256sum`` writes it.
SUMS = WEIGHTS / 'SHA256SUMS'


def packaged_models() -> list[str]:
    """Names of the configs that have weights here."""
    return sorted(_sums())


def packaged_weights(name: str) -> str:
    """The file of a config's weights, its SHA-256 compared.

    Args:
        name (str): Out of :func:`packaged_models`.

    Raises:
        UserError: If there are none, or the file is missing or not the one of the list.
    """
    known = _sums()
    if not isinstance(name, str):
        raise UserError(f'pretrained=True needs the name of a config: {", ".join(sorted(known))}')
    name = name.removeprefix('mman::').removesuffix('.py')
    if name not in known:
        raise UserError(
            f'no weights come with config {name!r}, but with {", ".join(sorted(known))}; for any '
            'other give a checkpoint'
        )
    path = WEIGHTS / f'{name}.pth'
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else 'no file'
    if found != known[name]:
        raise UserError(
            f'{str(path)!r} should have the SHA-256 {known[name]}, but has {found}: install mman '
            'again'
        )
    return str(path)


def _sums() -> dict[str, str]:
    """SHA-256 of each file, by the name of its config."""
    lines = (line.split() for line in SUMS.read_text().splitlines())
    return {file.removesuffix('.pth'): digest for digest, file in lines}
