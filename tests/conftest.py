"""Fixtures for all tests."""

import gc
import os

# Rounding differs between instruction sets, and through a ReLU at zero one bit
# becomes a gradient: the reference vectors come from a CPU with AVX2. Both are
# read when torch first computes, so they are set before it is imported.
os.environ.setdefault('ATEN_CPU_CAPABILITY', 'avx2')
os.environ.setdefault('ONEDNN_MAX_CPU_ISA', 'AVX2')

import random  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from mmengine.runner import checkpoint  # noqa: E402

from mman.registry import register_all_modules  # noqa: E402
from mman.utils import safe_loading  # noqa: E402
from tests.helpers.train_server import TrainServer  # noqa: E402

# Tests started in the background of a shell ignore Ctrl-C, and so would the programs they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope='session', autouse=True)
def _without_data_of_the_machine(tmp_path_factory):
    """Work beside the repository, and in empty caches of the libraries.

    Configs name folders such as ``data/cifar10``, and libraries look into the
    caches of the user; neither is there, whatever this machine has.
    """
    folder = tmp_path_factory.mktemp('repository')
    for path in _ROOT.iterdir():
        if path.name not in ('data', '.git'):
            (folder / path.name).symlink_to(path)
    cache = tmp_path_factory.mktemp('cache')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ('TORCH_HOME', 'HF_HOME', 'MMENGINE_HOME', 'SCIKIT_LEARN_DATA'):
            patch.setenv(name, str(cache))
        yield


def pytest_collection_finish():
    """Take what was imported out of every later garbage collection.

    Data sets of mmengine collect whenever one is built, in a quarter of a second without this.
    """
    gc.collect()
    gc.freeze()


_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _mman_scope():
    """Short names resolve in mman, whichever test ran before."""
    register_all_modules()


@pytest.fixture(autouse=True)
def _seeded():
    """Start every test from the same random numbers, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def loading_state(monkeypatch):
    """Undo what ``restrict_loading`` sets for the whole process, whichever test ran before."""
    monkeypatch.setattr(checkpoint.CheckpointLoader, '_schemes', _SCHEMES.copy())
    monkeypatch.setattr(checkpoint, 'get_torch_safe_globals', _SAFE_GLOBALS)
    monkeypatch.setattr(checkpoint, 'load_from_http', _LOAD_FROM_HTTP)
    monkeypatch.setattr(safe_loading, '_trusted', False)
    monkeypatch.setattr(safe_loading, '_before', None)
    for name in _LOADING_VARIABLES:
        os.environ.pop(name, None)
    yield
    for name in _LOADING_VARIABLES:
        os.environ.pop(name, None)


_LOADING_VARIABLES = ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD')
# As mmengine has them: nothing was restricted yet.
_SCHEMES = checkpoint.CheckpointLoader._schemes.copy()
_SAFE_GLOBALS = checkpoint.get_torch_safe_globals
_LOAD_FROM_HTTP = checkpoint.load_from_http


@pytest.fixture(scope='session')
def server():
    """The process whose forks are the tools, which have nothing to import."""
    with TrainServer() as server:
        yield server


@pytest.fixture(scope='session')
def fork_tool(server, tmp_path_factory):
    """``run_tool`` in a fork of the server; its output and errors are in one."""

    def run(name, *args, **kwargs):
        log = tmp_path_factory.mktemp('log') / 'log.txt'
        code, output = server.run(log, *args, tool=name, **kwargs)
        return subprocess.CompletedProcess(args, code, output, output)

    return run
