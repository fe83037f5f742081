"""Bringing together what the stages have, when the pipeline is empty, and what a resume needs."""

from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from mmengine.dist import all_gather_object
from mmengine.optim import OptimWrapperDict
from mmengine.utils import apply_to
from torch import nn

from mman.models.classifiers import LocalBlock
from mman.utils.random_state import random_state
from mman.utils.unwrap import unwrap

from .mesh import PipelineMesh, mesh_of


@torch.no_grad()
def share_blocks(mesh: PipelineMesh, owned: Sequence[Sequence[LocalBlock]]) -> None:
    """Give all stages of a replica the parameters and buffers of all blocks, by who owns them."""
    for stage, blocks in enumerate(owned):
        tensors = [t.detach() for b in blocks for t in (*b.parameters(), *b.buffers())]
        by_type: dict[torch.dtype, list[torch.Tensor]] = {}
        for tensor in tensors:
            by_type.setdefault(tensor.dtype, []).append(tensor)
        for group in by_type.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            dist.broadcast(flat, mesh.rank_of(stage), group=mesh.stage_group)
            if stage != mesh.stage:
                parts = flat.split([tensor.numel() for tensor in group])
                for tensor, part in zip(group, parts, strict=True):
                    tensor.copy_(part.view(tensor.shape))


def gather_training_state(
    mesh: PipelineMesh,
    blocks: Sequence[LocalBlock],
    optim_wrapper: OptimWrapperDict,
    schedulers: dict | None,
) -> dict[str, dict]:
    """States of the optimizers and schedules of all blocks, in rank 0, from their owners.

    Returns:
        dict[str, dict]: Block -> 'optimizer' and 'param_schedulers', on the CPU;
        empty in other ranks.
    """
    if mesh.data_rank:
        return {}
    mine = {
        block.name: dict(
            optimizer=apply_to(
                optim_wrapper[block.name].state_dict(), torch.is_tensor, lambda x: x.cpu()
            ),
            param_schedulers=[s.state_dict() for s in (schedulers or {}).get(block.name, [])],
        )
        for block in blocks
    }
    found = [None] * mesh.stages if mesh.is_last else None
    dist.gather_object(mine, found, dst=0, group=mesh.stage_group)
    return {name: state for part in found or () for name, state in part.items()}


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
