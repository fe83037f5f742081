"""The guard, on an installation that is healthy and on one that is not."""

import subprocess
import sys
from pathlib import Path

import pytest

from mman.utils import torchvision_guard

GUARD = Path(torchvision_guard.__file__)

# Loads the guard as a lone file: the package would have run it already.
PREAMBLE = f"""
import gc, importlib.util, pathlib, torch
spec = importlib.util.spec_from_file_location('guard', {str(GUARD)!r})
guard = importlib.util.module_from_spec(spec)
spec.loader.exec_module(guard)
"""


def run(code, preamble=PREAMBLE):
    """Run code in a fresh interpreter, where nothing is imported yet."""
    root = GUARD.parents[2]
    result = subprocess.run(
        [sys.executable, '-c', preamble + code], capture_output=True, text=True, cwd=root
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.full
def test_declares_operators_when_the_library_cannot_load(tmp_path):
    broken = tmp_path / '_C.so'
    broken.write_bytes(b'not a library')
    out = run(
        f"""
guard._compiled_library = lambda: pathlib.Path({str(broken)!r})
print(guard.guard_torchvision(), guard.guard_torchvision())
gc.collect()

# A healthy torchvision would load its own library now, and define the operators again.
def refuse(path):
    raise OSError(path)

torch.ops.load_library = refuse
import torchvision
for op in (torch.ops.torchvision.nms, torch.ops.torchvision.qnms):
    print(len(op.default._schema.arguments))
image = torch.arange(16.).reshape(1, 4, 4)
print(torchvision.transforms.functional.hflip(image)[0, 0, 0].item())
"""
    )
    assert out == ['True', 'True', '3', '3', '3.0']


@pytest.mark.full
def test_leaves_an_installation_without_compiled_library_alone():
    out = run(
        """
guard._compiled_library = lambda: None
print(guard.guard_torchvision(), hasattr(torch.ops.torchvision, 'qnms'))
"""
    )
    assert out == ['False', 'False']


def test_import_mman_makes_torchvision_importable():
    # Where the real library loads, its operator must be the one that answers.
    out = run(
        """
import mman
import torchvision
from mman.utils.torchvision_guard import guard_torchvision
if guard_torchvision():
    print('declared')
else:
    boxes = torch.tensor([[0., 0., 2., 2.], [0., 0., 2., 2.], [5., 5., 6., 6.]])
    print(torchvision.ops.nms(boxes, torch.tensor([.9, .8, .7]), .5).tolist() == [0, 2])
""",
        preamble='import torch\n',
    )
    assert out in (['declared'], ['True'])
