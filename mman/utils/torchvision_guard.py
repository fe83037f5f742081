"""Make ``import torchvision`` work where its compiled operators cannot load.

A CPU build of torch cannot load the compiled library of a CUDA build of
torchvision. Importing torchvision then fails with "operator torchvision::nms
does not exist", because it attaches fake kernels to operators that were never
defined. Transforms, datasets and models need none of them, so the two schemas
are declared here, when torchvision is first imported. Nothing happens on a
healthy installation.
"""

import importlib.util
from pathlib import Path

_SIGNATURE = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
_OPERATORS = ('nms', 'qnms')

# A torch.library.Library takes its definitions with it when it is collected.
_library = None


def _compiled_library() -> Path | None:
    """Path of torchvision's ``_C`` extension, found without importing it."""
    spec = importlib.util.find_spec('torchvision')
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob('_C*.so'))), None)


def guard_torchvision() -> bool:
    """Declare torchvision's operators if its own library cannot, and return whether it was so.

    Must run before the first import of torchvision or mmpretrain.models.
    """
    import torch

    global _library
    library = _compiled_library()
    if _library is not None or library is None:
        return _library is not None
    try:
        torch.ops.load_library(str(library))
        return False
    except OSError:
        pass
    _library = torch.library.Library('torchvision', 'FRAGMENT')
    for name in _OPERATORS:
        _library.define(f'{name}{_SIGNATURE}')
    return True
