"""Bringing together what the stages have, when the pipeline is empty."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from mmengine.optim import OptimWrapperDict
from mmengine.utils import apply_to

from mman.models.classifiers import LocalBlock

from .mesh import PipelineMesh


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
