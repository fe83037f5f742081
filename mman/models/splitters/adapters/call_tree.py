"""What a network calls in its forward, and what it hands on to whom."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

# BatchNorm needs more than one value per channel.
_BATCH = 2

# A tensor at one moment: its number, and how often it was written into.
State = tuple[int, int]


@dataclass
class Call:
    """One call of a module.

    Args:
        path (str): Of the module, in the network.
        module (nn.Module): The module.
        taken (State | None): The tensor it was given; None if anything else, or more.
        given (State | None): The tensor it returned; likewise.
        shape (tuple[int, ...]): Of what it returned, for one sample; () if no tensor.
        writes (bool): Whether it wrote into the tensor that it was given.
        calls (list[Call]): What it called itself, in order.
    """

    path: str
    module: nn.Module
    taken: State | None
    given: State | None = None
    shape: tuple[int, ...] = ()
    writes: bool = False
    calls: list['Call'] = field(default_factory=list)

    @property
    def obstacle(self) -> str | None:
        """What keeps it from being its calls in a row; None if it is.

        In a row means that the first call takes what the module is given, each
        of the others what the one before returned and nothing else, and the
        module returns what the last one did: no step without a module, no skip.
        """
        at_hand, before, seen = self.taken, None, set()
        for call in self.calls:
            if call.path in seen:
                return f'{call.path!r} is called twice'
            if call.taken is None:
                return f'{call.path!r} takes other arguments than one tensor'
            if call.taken != at_hand:
                source = 'the input' if before is None else f'what {before!r} returned'
                return f'{call.path!r} does not take {source}'
            seen.add(call.path)
            at_hand, before = call.given, call.path
        if before is None:
            return 'it calls no modules'
        if at_hand is None or self.given != at_hand:
            return f'the output is not the one tensor that {before!r} returned'
        return None


@torch.no_grad()
def call_tree(network: nn.Module, input_shape: Sequence[int]) -> Call:
    """Run a network of one tensor in train mode and note who calls what.

    To be run on a fake copy, because running statistics change. In train mode,
    for dropout without a module of its own is to be seen.
    """
    notes = _Notes(network)
    with _called_around(network, notes.enter, notes.leave), in_mode(network, True):
        network(torch.empty(_BATCH, *input_shape))
    return notes.root.calls[0]


class _Notes:
    """Builds the tree of calls from what hooks see."""

    def __init__(self, network: nn.Module):
        self.root = Call('', nn.Identity(), None)
        self._paths = {id(module): path for path, module in network.named_modules()}
        self._open = [self.root]
        # The number of an object is its own only as long as it is there.
        self._alive: list[torch.Tensor] = []

    def enter(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        call = Call(self._paths[id(module)], module, None if kwargs else self._state(args))
        self._open[-1].calls.append(call)
        self._open.append(call)

    def leave(self, module: nn.Module, args: tuple, result: Any) -> None:
        call = self._open.pop()
        call.given = self._state(result)
        call.shape = tuple(result.shape[1:]) if isinstance(result, torch.Tensor) else ()
        call.writes = call.taken is not None and call.taken != self._state(args)

    def _state(self, value: Any) -> State | None:
        if isinstance(value, tuple) and len(value) == 1:
            (value,) = value
        if not isinstance(value, torch.Tensor):
            return None
        self._alive.append(value)
        return id(value), value._version


@contextmanager
def _called_around(network: nn.Module, before: Callable, after: Callable) -> Iterator[None]:
    """Hooks on every module of a network inside, none outside."""
    handles = []
    for module in network.modules():
        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def in_mode(network: nn.Module, training: bool) -> Iterator[None]:
    """In train or eval mode inside, every module's own mode as before outside."""
    modes = [(module, module.training) for module in network.modules()]
    network.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
