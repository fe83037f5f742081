"""Counting the bytes of live tensors, however they came to be."""

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

_host = False


@contextmanager
def host_bytes() -> Iterator[None]:
    """Tensors made inside are in the host's memory, also where the device is the host."""
    global _host
    before, _host = _host, True
    try:
        yield
    finally:
        _host = before


class LiveBytes(TorchDispatchMode):
    """Bytes of the storages alive while the mode is on, now and at their peak.

    It counts what tensors hold, on any device and for fake tensors too; it does
    not see the workspace of kernels or what an allocator keeps in reserve.

    Args:
        existing (Iterable[Tensor]): Tensors made before, to be counted too.
        watch (Callable): Called whenever there is a new peak; what it returns
            is kept as ``at_peak``. Defaults to one that returns None.

    Attributes:
        now (int): Bytes alive at this moment.
        peak (int): The most there were since the start or :meth:`reset_peak`.
        at_peak (Any): What ``watch`` returned at that moment.
        host_now (int): Bytes alive of tensors made within :func:`host_bytes`,
            which ``now`` and ``peak`` leave out.
        host_peak (int): The most of them since the start or :meth:`reset_peak`.
    """

    def __init__(
        self,
        existing: Iterable[torch.Tensor] = (),
        watch: Callable[[], Any] = lambda: None,
    ):
        super().__init__()
        self.now = self.peak = self.host_now = self.host_peak = 0
        self._known = WeakIdKeyDictionary()
        self._watch = lambda: None
        for tensor in existing:
            self._count(tensor)
        self._watch, self.at_peak = watch, watch()

    def reset_peak(self) -> None:
        """Forget the peak so far."""
        self.peak, self.at_peak = self.now, self._watch()
        self.host_peak = self.host_now

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf)
        return out

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = size
        if _host:
            self.host_now += size
            self.host_peak = max(self.host_peak, self.host_now)
        else:
            self.now += size
            if self.now > self.peak:
                self.peak, self.at_peak = self.now, self._watch()
        weakref.finalize(storage, self._free, size, _host)

    def _free(self, size: int, host: bool) -> None:
        if host:
            self.host_now -= size
        else:
            self.now -= size
