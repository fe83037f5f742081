"""Messages of one kind to or from one neighbour, first in, first out."""

from collections import deque

import torch
import torch.distributed as dist

# One tag for each kind of message on a link.
HEADER, FEATURES, LOSSES, CREDIT, WEIGHTS = range(1, 6)


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
