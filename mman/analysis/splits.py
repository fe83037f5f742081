"""How a config cuts its network into local blocks, and what each has."""

from mmengine.config import Config
from torch import nn

from mman.models.classifiers.block_table import block_table

from .inspection import local_model


def split_text(cfg: Config) -> str:
    """The block table of a config, and the numbers of parameters.

    Raises:
        UserError: If the config has no LocalImageClassifier, or it cannot be built.
    """
    model = local_model(cfg)
    return f'{block_table(model)}\n\n{parameter_text(model)}'


def parameter_text(model: nn.Module) -> str:
    """Numbers of parameters of a LocalImageClassifier, a line each."""
    heads = list(model.aux_heads.parameters())
    in_heads = {id(p) for p in heads}
    lines = {
        'parameters at inference': [p for p in model.parameters() if id(p) not in in_heads],
        'trained parameters': [p for p in model.parameters() if p.requires_grad],
        'frozen momentum parameters': [p for p in heads if not p.requires_grad],
    }
    width = max(map(len, lines)) + 1
    return '\n'.join(
        f'{f"{name}:":<{width}} {sum(p.numel() for p in group):>11,}'
        for name, group in lines.items()
    )
