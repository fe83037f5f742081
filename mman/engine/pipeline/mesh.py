"""The processes of a pipeline, and those among which a batch is shared."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from mmengine.dist import get_rank, get_world_size
from mmengine.dist import utils as mmengine_dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from mman.utils import UserError


class PipelineMesh:
    """All processes as stages x data: D replicas of every one of S stages.

    The last stage comes first, so that rank 0, which logs and saves, is the one
    that has the classifier and learns the losses of all blocks.

    Args:
        stages (int): S, which divides the number of processes, or a UserError.

    Attributes:
        stage (int): Of this process, from 0, which reads the data.
        data_rank (int): Which replica of the stage this process is.
        replicas (int): D.
        data_group (ProcessGroup): The replicas of this stage.
        stage_group (ProcessGroup): The stages of this replica.
        host_data_group (ProcessGroup): As ``data_group``, for tensors on the CPU.
        host_group (ProcessGroup | None): All processes, for tensors on the CPU.
        device (torch.device | None): Where tensors are to be sent; None where they are.
    """

    def __init__(self, stages: int):
        world = dist.get_world_size()
        if world % stages:
            raise UserError(
                f'model_wrapper_cfg.stages={stages} does not divide the {world} processes: start '
                f'a multiple of {stages}'
            )
        on_gpu = dist.get_backend() == 'nccl'
        self.stages = stages
        self.replicas = world // stages
        mesh = init_device_mesh(
            'cuda' if on_gpu else 'cpu', (stages, self.replicas), mesh_dim_names=('stage', 'data')
        )
        row, self.data_rank = divmod(dist.get_rank(), self.replicas)
        self.stage = stages - 1 - row
        self.data_group, self.stage_group = mesh.get_group('data'), mesh.get_group('stage')
        self.device = None if on_gpu else torch.device('cpu')
        self.host_group, self.host_data_group = None, self.data_group
        if on_gpu:
            self.host_group = dist.new_group(backend='gloo')
            rows = [dist.new_group(self._row(s), backend='gloo') for s in range(stages)]
            self.host_data_group = rows[self.stage]
        self._links = self._link_groups() if on_gpu else {}

    @property
    def is_first(self) -> bool:
        """Whether this process reads the data."""
        return self.stage == 0

    @property
    def is_last(self) -> bool:
        """Whether this process has the classifier, and learns all losses."""
        return self.stage == self.stages - 1

    def rank_of(self, stage: int) -> int:
        """Rank of a stage of this replica."""
        return (self.stages - 1 - stage) * self.replicas + self.data_rank

    def stage_of(self, rank: int) -> int:
        """Stage of any process."""
        return self.stages - 1 - rank // self.replicas

    def link_group(self, source: int, target: int) -> dist.ProcessGroup | None:
        """Group for device tensors from one stage of this replica to its neighbour.

        gloo tells messages apart by tags, so that one group serves for all. NCCL
        does not, and one direction may not wait for the other.
        """
        return self._links.get((source, target))

    def _row(self, stage: int) -> list[int]:
        first = (self.stages - 1 - stage) * self.replicas
        return list(range(first, first + self.replicas))

    def _link_groups(self) -> dict[tuple[int, int], dist.ProcessGroup]:
        """Every process makes all groups, in one order, and keeps those of its replica."""
        mine = {}
        for stage in range(self.stages - 1):
            for source, target in ((stage, stage + 1), (stage + 1, stage)):
                for replica in range(self.replicas):
                    group = dist.new_group(sorted(self._row(s)[replica] for s in (source, target)))
                    if replica == self.data_rank:
                        mine[source, target] = group
        return mine


# A model that is no pipeline is one of as many replicas as there are processes.
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
