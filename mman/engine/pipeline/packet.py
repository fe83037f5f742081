"""Messages: several tensors of a batch, or of weights, as bytes, and how they are sent."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.distributed as dist

# One tag for each kind of message on a link.
HEADER, FEATURES, LOSSES, CREDIT, WEIGHTS = range(1, 6)
# What kernels are given begins at such a multiple.
_ALIGNMENT = 64


@dataclass(frozen=True)
class Part:
    """One tensor of a message: shape and dimensions as they lie in memory, and its type."""

    shape: tuple[int, ...]
    order: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Bytes, without what fills up to the next part."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Packet:
    """Where the tensors of every message of one kind are.

    All messages have one size: a batch that is smaller fills the front of each
    part. Strides are kept, because kernels may round by them.

    Args:
        parts (dict[str, Part]): By name.
    """

    parts: dict[str, Part]

    @classmethod
    def like(cls, tensors: Mapping[str, torch.Tensor], capacity: int | None = None) -> 'Packet':
        """For tensors such as these, one of each kind, of at most ``capacity`` rows."""
        parts = {}
        for name, tensor in tensors.items():
            order = _memory_order(tensor)
            shape = [tensor.shape[place] for place in order]
            if capacity is not None:
                shape[0] = capacity
            parts[name] = Part(tuple(shape), order, tensor.dtype)
        return cls(parts)

    @property
    def nbytes(self) -> int:
        """Size of a message."""
        return sum(_padded(part.nbytes) for part in self.parts.values())

    def pack(
        self, tensors: Mapping[str, torch.Tensor], device: torch.device | None
    ) -> torch.Tensor:
        """A copy of the tensors as bytes, (nbytes,), on ``device`` or where they are."""
        some = next(iter(tensors.values()))
        buffer = self.empty(device or some.device)
        for name, room in self._views(buffer).items():
            source = tensors[name].detach().permute(self.parts[name].order)
            room = room if room.shape == source.shape else room[: len(source)]
            room.copy_(source)
        return buffer

    def unpack(
        self, buffer: torch.Tensor, rows: int | None = None, device: torch.device | None = None
    ) -> dict[str, torch.Tensor]:
        """The tensors of a message; views of it unless it lies on another device."""
        found = {}
        for name, view in self._views(buffer.to(device or buffer.device)).items():
            order = self.parts[name].order
            view = view if rows is None else view[:rows]
            found[name] = view.permute([order.index(place) for place in range(len(order))])
        return found

    def empty(self, device: torch.device) -> torch.Tensor:
        """Room for one message."""
        return torch.empty(self.nbytes, dtype=torch.uint8, device=device)

    def _views(self, buffer: torch.Tensor) -> dict[str, torch.Tensor]:
        sizes = [_padded(part.nbytes) for part in self.parts.values()]
        starts = accumulate(sizes, initial=0)
        return {
            name: buffer[start : start + part.nbytes].view(part.dtype).view(part.shape)
            for start, (name, part) in zip(starts, self.parts.items(), strict=False)
        }


def _memory_order(tensor: torch.Tensor) -> tuple[int, ...]:
    """Dimensions from the one with the largest stride on, if that is the first one."""
    as_they_are = tuple(range(tensor.ndim))
    # Where they say nothing: dimensions of one entry have any stride.
    if tensor.is_contiguous():
        return as_they_are
    order = tuple(sorted(as_they_are, key=lambda place: -tensor.stride(place)))
    return order if order[0] == 0 else as_they_are


def _padded(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


class Arriving:
    """A message on its way: where it will be, and what waits for it."""

    def __init__(self, buffer: torch.Tensor, work: dist.Work):
        self._buffer, self._work = buffer, work

    def wait(self) -> torch.Tensor:
        """The message, once it is there."""
        self._work.wait()
        return self._buffer


class Channel:
    """Messages of one kind, the ``tag``, to or from one neighbour, of rank ``peer``.

    Up to ``bound`` messages may be sent and not yet taken. ``sent`` counts bytes.
    """

    def __init__(self, peer: int, tag: int, group: dist.ProcessGroup | None, bound: int):
        self.peer, self.tag, self.group, self.bound = peer, tag, group, bound
        self.sent = 0
        # The tensors stay alive until they are sent.
        self._pending: deque[tuple[dist.Work, torch.Tensor]] = deque()

    def send(self, tensor: torch.Tensor) -> None:
        """Send a tensor that nobody changes any more; waits while too many are pending."""
        while len(self._pending) >= self.bound:
            self._pending.popleft()[0].wait()
        work = dist.isend(tensor, self.peer, self.group, self.tag)
        self._pending.append((work, tensor))
        self.sent += tensor.numel() * tensor.element_size()

    def receive_later(self, buffer: torch.Tensor) -> Arriving:
        """Ask for the next message, to be waited for when it is needed."""
        return Arriving(buffer, dist.irecv(buffer, self.peer, self.group, self.tag))

    def flush(self) -> None:
        """Wait until all is sent."""
        while self._pending:
            self._pending.popleft()[0].wait()
