"""What a resume needs to know of every replica, whose stages know it in parts."""

from collections.abc import Iterator

import torch.distributed as dist
from mmengine.dist import all_gather_object
from torch import nn

from mman.utils.random_state import random_state
from mman.utils.unwrap import unwrap

from .mesh import mesh_of


def gather_by_replica(model: nn.Module, state: dict) -> list[dict]:
    """The states of all replicas; all ranks call it with what they know.

    Of every replica there are the 'gradients' of all stages, and the random numbers of
    the first, which alone draws any.
    """
    found, mesh = all_gather_object(state), mesh_of(model)
    if mesh is None:
        return found
    first = found[-mesh.replicas :]
    gradients: list[dict] = [{} for _ in first]
    # From the first stage on, as one process has them.
    for rank in sorted(range(len(found)), key=mesh.stage_of):
        gradients[rank % mesh.replicas] |= found[rank]['gradients']
    return [state | dict(gradients=mine) for state, mine in zip(first, gradients, strict=True)]


def random_state_of(model: nn.Module) -> dict:
    """The random numbers of this replica; all ranks call it."""
    state = [random_state()]
    # A model that is only validated is no pipeline yet.
    if getattr(model, 'stage', None) is not None:
        mesh = mesh_of(model)
        dist.broadcast_object_list(state, src=mesh.rank_of(0), group=mesh.stage_group)
    return state[0]


def trained_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that this process trains, by their names in the classifier."""
    if mesh_of(model) is None:
        yield from unwrap(model).named_parameters()
    else:
        for block in model.own_blocks:
            yield from block.named_parameters()
