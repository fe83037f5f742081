"""How units and heads run on a device: memory format and compilation."""

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from ..aux_heads import AuxHead

MEMORY_FORMATS = dict(contiguous=torch.contiguous_format, channels_last=torch.channels_last)

# torch gives a function up, and runs it as it is, after this many graphs; every
# unit and network goes through the same function, and every shape needs one.
_GRAPHS = 256


def compile_modules(modules: Iterable[nn.Module], options: Mapping) -> None:
    """Compile every module in place, each by itself; alike ones share a graph."""
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, _GRAPHS)
    limits.accumulated_recompile_limit = max(limits.accumulated_recompile_limit, 4 * _GRAPHS)
    for module in modules:
        module.compile(**options)


def networks(head: AuxHead) -> list[nn.Module]:
    """What there is to compile in a head: its members, and its host's, with parameters."""
    found = []
    for child in head.children():
        if isinstance(child, AuxHead):
            found += networks(child)
        elif isinstance(child, nn.ModuleList):
            # Never called itself; its members are.
            found += list(child)
        elif any(True for _ in child.parameters()):
            found.append(child)
    return found
