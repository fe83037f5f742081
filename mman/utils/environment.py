"""What a result depends on besides its config: versions, device, git, environment."""

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

_PACKAGES = (
    'torch',
    'torchvision',
    'numpy',
    'onedl-mmengine',
    'mmengine',
    'onedl-mmcv',
    'mmcv',
    'mmcv-lite',
    'onedl-mmpretrain',
    'mmpretrain',
    'timm',
    'opencv-python',
    'scikit-learn',
)
# By their beginnings.
_VARIABLES = (
    'ATEN_',
    'CUBLAS_',
    'CUDA_',
    'CUDNN_',
    'GPUS_PER_NODE',
    'GLOO_',
    'KMP_',
    'LOCAL_RANK',
    'MKL_',
    'NCCL_',
    'NVIDIA_TF32',
    'OMP_',
    'ONEDNN_',
    'PYTHONHASHSEED',
    'PYTORCH_',
    'RANK',
    'TORCH',
    'WORLD_SIZE',
)


def environment() -> dict:
    """Versions, git state, device and environment variables, ready for JSON."""
    return dict(
        python=platform.python_version(),
        platform=platform.platform(),
        versions=_versions(),
        git=git_state(Path(__file__).resolve().parents[2]),
        device=_device(),
        variables={
            name: value for name, value in sorted(os.environ.items()) if name.startswith(_VARIABLES)
        },
    )


def command_line() -> str:
    """The command that started this process, to be given to a shell."""
    return shlex.join([sys.executable, *sys.argv])


def git_state(folder: Path) -> dict | None:
    """Commit of a folder, and the files that differ from it.

    Returns:
        dict | None: ``commit`` and ``changed``, a list of git's short status
        lines; None if the folder is not the root of a repository, as when mman
        was installed, or git is missing.
    """
    # Otherwise git would find a repository that mman happens to be installed inside.
    if not (folder / '.git').exists():
        return None
    try:
        commit = _git(folder, 'rev-parse', 'HEAD').strip()
        changed = _git(folder, 'status', '--porcelain').splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(commit=commit, changed=changed)


def _git(folder: Path, *args: str) -> str:
    result = subprocess.run(
        ['git', '-C', str(folder), *args], capture_output=True, text=True, check=True, timeout=30
    )
    return result.stdout


def _versions() -> dict[str, str]:
    from mman.version import __version__

    found = dict(mman=__version__)
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _device() -> dict:
    device = dict(
        cpu=platform.processor() or platform.machine(),
        cpu_capability=torch.backends.cpu.get_cpu_capability(),
        threads=torch.get_num_threads(),
    )
    if torch.cuda.is_available():
        device.update(
            gpu=torch.cuda.get_device_name(),
            gpus=torch.cuda.device_count(),
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),
            tf32=torch.backends.cuda.matmul.allow_tf32,
            cudnn_benchmark=torch.backends.cudnn.benchmark,
        )
    return device
