"""The two ends of the link between neighbouring stages.

Forward, in every iteration t: a header on the host, the features as soon as the
edge block's units have made them, and the losses when the stage is done.
Backward: a credit on the host when the next stage's first block is done, and the
weights of its first unit if the edge block's head keeps an average of them. The
head of iteration t + 1 needs those of t, and waits for nothing else.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist

from mman.utils import UserError

from .mesh import PipelineMesh
from .packet import CREDIT, FEATURES, HEADER, LOSSES, WEIGHTS, Arriving, Channel, Packet


class Returned(NamedTuple):
    """What the next stage says of one iteration: whether to stop, and what to average by m."""

    stop: bool
    weights: list[torch.Tensor] | None
    decay: float | None


class _Expected(NamedTuple):
    credit: Arriving
    weights: Arriving | None
    decay: float | None


class _End:
    """What both ends have: the channels to one neighbour."""

    def __init__(self, mesh: PipelineMesh, neighbour: int, device: torch.device, depth: int):
        peer, here = mesh.rank_of(neighbour), mesh.stage
        self.device = device
        self.wire = mesh.device or device
        self.peer = peer
        self.host_group = mesh.host_group
        low, high = sorted((here, neighbour))
        onward, back = mesh.link_group(low, high), mesh.link_group(high, low)
        self.header = Channel(peer, HEADER, mesh.host_group, depth)
        self.features = Channel(peer, FEATURES, onward, depth)
        self.losses = Channel(peer, LOSSES, onward, depth)
        self.credit = Channel(peer, CREDIT, mesh.host_group, depth)
        self.weights = Channel(peer, WEIGHTS, back, depth)

    def bytes_sent(self) -> dict[str, int]:
        """Since the start, by kind of message."""
        kinds = ('header', 'features', 'losses', 'credit', 'weights')
        return {kind: getattr(self, kind).sent for kind in kinds}

    def flush(self) -> None:
        """Wait until all is sent."""
        for channel in (self.header, self.features, self.losses, self.credit, self.weights):
            channel.flush()


class Downstream(_End):
    """The link to the next stage, seen from the stage before it.

    Up to ``depth`` messages may be sent and not yet taken; ``capacity`` is the most images of
    a batch, if known, else 0; ``average`` are the parameters that average those of the next
    stage's first unit, if the edge block's head has such.
    """

    def __init__(
        self,
        mesh: PipelineMesh,
        device: torch.device,
        depth: int,
        capacity: int,
        average: Sequence[torch.Tensor] | None,
    ):
        super().__init__(mesh, mesh.stage + 1, device, depth)
        self.capacity = capacity
        # Weights are needed in the next iteration; a mere credit bounds the queue.
        self.lag = depth if average is None else 1
        self._weights = None if average is None else _weights_packet(average)
        self._packet: Packet | None = None
        self._expected: deque[_Expected] = deque()

    def send(
        self,
        tensors: dict[str, torch.Tensor],
        stop: bool,
        decay: float | None = None,
    ) -> None:
        """Send what the next stage trains on.

        Args:
            tensors (dict[str, Tensor]): 'features', 'labels' or 'scores', and
                'images' if a later head asks, N rows each.
            stop (bool): Whether this iteration is the last one.
            decay (float | None): m of this iteration, if weights come back.
        """
        rows = len(tensors['features'])
        if self._packet is None:
            self._packet = Packet.like(tensors, max(rows, self.capacity))
            dist.send_object_list([self._packet], self.peer, self.host_group)
        most = self._packet.parts['features'].shape[0]
        if rows > most:
            raise UserError(
                f'a batch of {rows} images came after one of {most}: a pipeline needs '
                'train_dataloader.batch_size'
            )
        for name, part in self._packet.parts.items():
            if tensors[name].dtype != part.dtype:
                raise UserError(
                    f'{name} of type {tensors[name].dtype} came after some of {part.dtype}: a '
                    'pipeline needs a data set whose batches are of one type'
                )
        self.header.send(torch.tensor([rows, stop]))
        self.features.send(self._packet.pack(tensors, self.wire))
        weights = None
        if decay is not None:
            weights = self.weights.receive_later(self._weights.empty(self.wire))
        credit = self.credit.receive_later(torch.empty(2, dtype=torch.int64))
        self._expected.append(_Expected(credit, weights, decay))

    def returned(self, outstanding: int) -> Iterator[Returned]:
        """What has come back, until so many iterations are left unanswered."""
        while len(self._expected) > outstanding:
            credit, weights, decay = self._expected.popleft()
            stop, valid = credit.wait().tolist()
            found = None
            if weights is not None:
                found = list(self._weights.unpack(weights.wait(), device=self.device).values())
            yield Returned(bool(stop), found if valid else None, decay)

    def send_losses(self, losses: torch.Tensor) -> None:
        """Send the losses of the blocks up to this stage."""
        self.losses.send(losses.to(self.wire))

    def close(self) -> None:
        """Give the next stage the features that it waits for; it throws them away."""
        if self._packet is not None:
            self.features.send(self._packet.empty(self.wire))


class Upstream(_End):
    """The link to the stage before, seen from the next one.

    ``averaged`` are the parameters of this stage's first unit, if the stage before averages
    them.
    """

    def __init__(
        self,
        mesh: PipelineMesh,
        device: torch.device,
        depth: int,
        num_blocks: int,
        averaged: Sequence[torch.Tensor] | None,
    ):
        super().__init__(mesh, mesh.stage - 1, device, depth)
        self.num_blocks = num_blocks
        self.averaged = averaged
        self._weights = None if averaged is None else _weights_packet(averaged)
        self._packet: Packet | None = None
        self._features: Arriving | None = None
        self._losses: Arriving | None = None

    def receive(self) -> tuple[dict[str, torch.Tensor], bool]:
        """The tensors of the next iteration, and whether it is the last one."""
        if self._packet is None:
            found = [None]
            dist.recv_object_list(found, self.peer, self.host_group)
            (self._packet,) = found
        if self._features is None:
            self._features = self._ask_for_features()
        header = self.header.receive_later(torch.empty(2, dtype=torch.int64)).wait()
        rows, stop = header.tolist()
        body = self._features.wait()
        # In the order in which they are sent; while this iteration computes.
        room = torch.empty(2, self.num_blocks, dtype=torch.float64, device=self.wire)
        self._losses = self.losses.receive_later(room)
        self._features = self._ask_for_features()
        tensors = self._packet.unpack(body, rows, self.device)
        # The features alone are to keep the message alive, until the first block drops them.
        return {
            name: tensor if name == 'features' else tensor.clone()
            for name, tensor in tensors.items()
        }, bool(stop)

    def receive_losses(self) -> torch.Tensor:
        """Losses and gradient norms of the blocks before this stage, (2, K) in float64."""
        return self._losses.wait().to(self.device)

    def pack_weights(self) -> torch.Tensor:
        """A copy of the weights as they are now."""
        named = {str(place): tensor for place, tensor in enumerate(self.averaged)}
        return self._weights.pack(named, self.wire)

    def answer(self, stop: bool, weights: torch.Tensor | None, valid: bool) -> None:
        """Say that the first block is done, and whether this stage or a later one asks to stop.

        ``weights``, as :meth:`pack_weights` gave them, if the stage before expects some; they
        are to be averaged if ``valid``.
        """
        if weights is not None:
            self.weights.send(weights)
        self.credit.send(torch.tensor([stop, valid], dtype=torch.int64))

    def close(self) -> None:
        """Take the features that are thrown away."""
        if self._features is not None:
            self._features.wait()
            self._features = None

    def _ask_for_features(self) -> Arriving:
        return self.features.receive_later(self._packet.empty(self.wire))


def _weights_packet(tensors: Sequence[torch.Tensor]) -> Packet:
    return Packet.like({str(place): tensor for place, tensor in enumerate(tensors)})
