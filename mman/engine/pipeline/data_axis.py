"""The processes among which a batch is shared: all of them, or those of one stage.

A model that is no pipeline is one of as many replicas as there are processes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from mmengine.dist import get_rank, get_world_size
from mmengine.dist import utils as mmengine_dist
from torch import nn

from .mesh import PipelineMesh


def mesh_of(model: nn.Module) -> PipelineMesh | None:
    """The mesh of a model that trains as a pipeline, else None."""
    return getattr(model, 'mesh', None)


def data_rank(model: nn.Module) -> int:
    """Which replica this process has."""
    mesh = mesh_of(model)
    return get_rank() if mesh is None else mesh.data_rank


def num_replicas(model: nn.Module) -> int:
    """How many replicas of the model are trained."""
    mesh = mesh_of(model)
    return get_world_size() if mesh is None else mesh.replicas


def data_group(model: nn.Module) -> dist.ProcessGroup | None:
    """The processes that have other replicas of what this one trains; None is all."""
    mesh = mesh_of(model)
    return None if mesh is None else mesh.data_group


@contextmanager
def sharing_batches(model: nn.Module) -> Iterator[None]:
    """Samplers that are built inside share the data among replicas alone.

    They ask mmengine for the rank and the number of processes, and mmengine
    asks for the default group.
    """
    group, before = data_group(model), mmengine_dist.get_default_group
    if group is not None:
        mmengine_dist.get_default_group = lambda: group
    try:
        yield
    finally:
        mmengine_dist.get_default_group = before
