"""Keeping what the backward pass needs in the host's memory."""

import torch

from .live_bytes import host_bytes


class SavedOnHost(torch.autograd.graph.saved_tensors_hooks):
    """A context whose operations save tensors for the backward pass on the host.

    As ``torch.autograd.graph.save_on_cpu``, but what is saved is copied where
    the device is the host too: a run there, or on fake tensors, then takes what
    a GPU and its host would take together. Gradients are the same bit for bit.
    """

    def __init__(self):
        super().__init__(_to_host, _to_device)


def _to_host(tensor: torch.Tensor) -> tuple[torch.device, torch.Tensor]:
    with host_bytes():
        return tensor.device, tensor.to('cpu', copy=True)


def _to_device(packed: tuple[torch.device, torch.Tensor]) -> torch.Tensor:
    device, tensor = packed
    return tensor.to(device, copy=True)
