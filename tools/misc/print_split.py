"""Print how a config cuts its network into local blocks, and what each costs."""

import argparse
from collections.abc import Iterable

from torch import nn

from mman import apis
from mman.apis import inspection
from mman.models.classifiers.block_table import block_table
from mman.utils.errors import one_line_errors


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    return apis.config_parser(__doc__)


def totals(model: nn.Module) -> str:
    """Numbers of parameters of a LocalImageClassifier, a line each."""
    heads = list(model.aux_heads.parameters())
    in_heads = {id(p) for p in heads}
    lines = {
        'parameters at inference': [p for p in model.parameters() if id(p) not in in_heads],
        'trained parameters': [p for p in model.parameters() if p.requires_grad],
        'frozen momentum parameters': [p for p in heads if not p.requires_grad],
    }
    width = max(map(len, lines)) + 1
    return '\n'.join(f'{f"{name}:":<{width}} {_count(group):>11,}' for name, group in lines.items())


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(p.numel() for p in parameters)


def main() -> None:
    """Print the block table and the totals."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        model = inspection.local_model(apis.load_config(args.config, args.cfg_options))
        print(f'{block_table(model)}\n\n{totals(model)}')


if __name__ == '__main__':
    main()
