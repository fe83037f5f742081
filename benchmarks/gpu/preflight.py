"""What a GPU day needs, looked for before anything starts."""

import hashlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch

from mman.datasets import CIFAR10
from mman.registry import register_all_modules
from mman.utils.environment import environment
from mman.utils.errors import DataError, UserError

from .results import ROOT

NEEDED_GIB = 2
_SOURCES = ('mman', 'configs', 'benchmarks')
_VERSIONS = 'torch torchvision numpy triton mmengine mmcv mmpretrain'.split()


def require_gpu() -> None:
    """Refuse a machine without a GPU.

    Raises:
        UserError: If torch sees none.
    """
    if not torch.cuda.is_available():
        raise UserError('torch sees no GPU; --dry-run tries all of it on the CPU, on tiny settings')


def require_space(folder: Path) -> None:
    """Make the folder; refuse it where it cannot be written or has no room for checkpoints.

    Raises:
        UserError: Says which.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f'FOLDER {str(folder)!r} cannot be written: {error.strerror}') from error
    free = shutil.disk_usage(folder).free / 2**30
    if free < NEEDED_GIB:
        raise UserError(
            f'FOLDER {str(folder)!r} has {free:.1f} GiB of free disk; it should have {NEEDED_GIB}'
        )


def require_cifar10(folder: Path, other_files: bool) -> None:
    """Refuse a folder without all of CIFAR-10.

    Raises:
        UserError: If a file is missing, damaged or, without ``other_files``, not the official one.
    """
    register_all_modules()
    for split, count in CIFAR10.COUNTS.items():
        options = dict(split=split, download=False, verify=not other_files)
        try:
            found = len(CIFAR10(str(folder), serialize_data=False, **options))
        except DataError as error:
            raise UserError(f'--data: {error} Here verify=False is --other-files') from error
        if found != count:
            raise UserError(f'--data {str(folder)!r} has {found} {split} images; it should {count}')


def what_lacks(dry_run: bool) -> dict[str, str]:
    """Why some jobs cannot run here, by the mode of the times or 'tests'."""
    found = {}
    if find_spec('pytest') is None:
        found['tests'] = 'pytest is not installed (requirements/tests.txt)'
    if dry_run:
        return {**found, 'channels_last': 'dry run', 'compiled': 'dry run'}
    compilers = filter(None, (os.environ.get('CC'), 'gcc', 'clang', 'cc'))
    header = Path(sysconfig.get_paths()['include']) / 'Python.h'
    if find_spec('triton') is None:
        found['compiled'] = 'triton is not installed'
    elif not any(map(shutil.which, compilers)):
        found['compiled'] = 'triton finds no C compiler'
    elif not header.is_file():
        found['compiled'] = 'Python.h, which triton includes, is not installed'
    return found


def machine() -> dict:
    """What results depend on: commit, a SHA-256 of all sources, device, driver, versions."""
    found = environment()
    git, device, driver = found['git'] or {}, found['device'], None
    if torch.cuda.is_available():
        command = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
        try:
            asked = subprocess.run(command, capture_output=True, text=True, timeout=30)
            driver = (asked.stdout.splitlines() or [None])[0]
        except (OSError, subprocess.SubprocessError):
            pass
    every = found['versions'].items()
    versions = {name: one for name, one in every if name.removeprefix('onedl-') in _VERSIONS}
    return dict(
        commit=git.get('commit'),
        changed=len(git.get('changed', ())),
        sources=_sources(),
        device=device.get('gpu', f'CPU {device["cpu"]}'),
        cuda=device.get('cuda'),
        cudnn=device.get('cudnn'),
        driver=driver,
        versions=dict(sorted({'python': found['python'], **versions}.items())),
    )


def _sources() -> str:
    files = sorted(path for part in _SOURCES for path in (ROOT / part).rglob('*.py'))
    total = hashlib.sha256()
    for path in files:
        total.update(f'{path.relative_to(ROOT)}\0'.encode() + path.read_bytes())
    return total.hexdigest()
