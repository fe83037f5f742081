"""Checkpoints from the network, which are loaded only if their checksum is known."""

import re
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch

from .all_ranks import run_on_all_ranks
from .atomic_file import sha256_of
from .checkpoint import load_from_local
from .errors import UserError

# As torch's, torchvision's, timm's and OpenMMLab's files are named, and publish_model.py does.
_DIGITS = re.compile(r'-([0-9a-f]{8,64})\.(?:pth|pt|ckpt)$')


def load_from_http(filename: str, map_location: Any = None) -> Any:
    """A loader for mmengine: download once, compare the SHA-256, load without running code.

    The file stays in torch's folder of downloads and is compared again each time. The
    name in its URL must end in a dash and the first 8 to 64 digits of its SHA-256.

    Raises:
        UserError: If the name has no such digits, the file cannot be
            downloaded, has another checksum, or is refused.
    """
    name = Path(urlparse(filename).path).name
    digits = _DIGITS.search(name)
    if digits is None:
        raise UserError(
            f'checkpoint {filename!r} cannot be verified: the name of a download should end in a '
            'dash and the first digits of its SHA-256, as in best-1a2b3c4d.pth; download it '
            'yourself and give the local file'
        )
    path = Path(torch.hub.get_dir()) / 'checkpoints' / name
    # Rank 0 first, then the others, of which those on other machines find no file yet.
    run_on_all_ranks(lambda: _fetch(filename, path), main_only=True)
    run_on_all_ranks(lambda: _fetch(filename, path))
    found = sha256_of(path)[: len(digits[1])]
    if found != digits[1]:
        raise UserError(
            f'checkpoint {filename!r} was refused: {str(path)!r}, downloaded from there, has '
            f'sha256 {found}... instead of {digits[1]}...; remove it to download it again'
        )
    return load_from_local(str(path), map_location)


def _fetch(url: str, path: Path) -> None:
    if path.is_file():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written beside its place and moved when complete.
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except (OSError, HTTPException) as error:
        raise UserError(f'checkpoint {url!r} cannot be downloaded: {error}') from error
