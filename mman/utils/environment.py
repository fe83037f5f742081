"""What a result depends on besides its config: versions, device, git, environment."""

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import torch

from mman.version import __version__

# By their beginnings.
_VARIABLES = tuple(
    'ATEN_ CUBLAS_ CUDA_ CUDNN_ GPUS_PER_NODE GLOO_ KMP_ LOCAL_RANK MKL_ NCCL_ NVIDIA_TF32 OMP_ '
    'ONEDNN_ PYTHONHASHSEED PYTORCH_ RANK TORCH WORLD_SIZE'.split()
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
    """Commit of a folder, and ``changed``, git's short status of the files that differ from it.

    None if the folder is not the root of a repository, as when mman was installed, or git
    is missing.
    """
    # Otherwise git would find a repository that mman happens to be installed inside.
    if not (folder / '.git').exists():
        return None
    asked = [
        ['git', '-C', str(folder), *words]
        for words in (('rev-parse', 'HEAD'), ('status', '--porcelain'))
    ]
    try:
        commit, changed = (
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
            for command in asked
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(commit=commit.strip(), changed=changed.splitlines())


def _versions() -> dict[str, str]:
    # Of two of one name the first is the one that is imported.
    packages = reversed(list(distributions()))
    return {**{package.name: package.version for package in packages}, 'mman': __version__}


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
