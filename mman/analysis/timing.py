"""Timing several pieces of work side by side."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch

T = TypeVar('T')


def timed(
    work: Callable[[], Any],
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds of a clock that a call takes, the device idle before and after it."""
    wait = torch.cuda.synchronize if device.type == 'cuda' else lambda device: None
    wait(device)
    start = clock()
    work()
    wait(device)
    return clock() - start


def in_turns(things: Sequence[T], rounds: int) -> Iterator[T]:
    """Each of the things once in every round, another one first each time.

    So what slows the machine down slows all of them.
    """
    for i in range(rounds):
        first = i % len(things)
        yield from (*things[first:], *things[:first])


def device_name() -> str:
    """The GPU, or the CPU with its threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f'CPU, threads: {torch.get_num_threads()} of {os.cpu_count()} cores'
