"""The random numbers of one process: kept, put back, and drawn from a seed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def random_state() -> dict:
    """States of Python's, NumPy's and torch's global generators.

    With CUDA in use the state of this process's device is among them. All of
    it can be loaded with ``weights_only=True``.
    """
    name, keys, position, has_gauss, gauss = np.random.get_state()
    state = dict(
        python=random.getstate(),
        numpy=(name, keys.tolist(), position, has_gauss, gauss),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_initialized():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """Put back what :func:`random_state` gave, in this process or an earlier one."""
    version, keys, gauss = state['python']
    random.setstate((version, tuple(keys), gauss))
    np.random.set_state(tuple(state['numpy']))
    # A resumed checkpoint is loaded onto the training device.
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


@contextmanager
def unchanged_random_state() -> Iterator[None]:
    """Draw inside without a trace outside."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Random numbers that depend on ``numbers``, from 0 on, alone, with no trace outside.

    Python's, NumPy's and torch's generators on the CPU; those of devices are
    left alone.
    """
    low, high = (int(word) for word in np.random.SeedSequence(numbers).generate_state(2))
    with unchanged_random_state():
        random.seed(low << 32 | high)
        np.random.seed([low, high])
        # torch.manual_seed would seed the devices too.
        torch.default_generator.manual_seed(low << 32 | high)
        yield
