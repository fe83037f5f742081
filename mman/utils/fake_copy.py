"""Running a module on fake tensors: shapes without memory or arithmetic."""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
    FakeTensorMode,
    UnsupportedFakeTensorException,
)

# BatchNorm needs more than one value per channel.
FAKE_BATCH = 2
#: What is raised where values of tensors are read, which fake ones do not have.
NO_VALUES = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
)


@contextmanager
def fake_copy(module: nn.Module) -> Iterator[nn.Module]:
    """A copy of ``module`` whose tensors are fake, in a context where new ones are.

    The module itself is not touched; running it directly with fake inputs
    would change the counters of its BatchNorms.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with FakeCopyMode(mode):
        copied = copy.deepcopy(module)
    with mode, _silent():
        yield copied


@contextmanager
def _silent() -> Iterator[None]:
    """Keep torch from writing the traceback of every shape that does not fit to the terminal."""
    log = logging.getLogger(fake_tensor.__name__)
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before
