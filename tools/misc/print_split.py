"""Print how a config cuts its network into local blocks, and what each costs."""

import argparse
from collections.abc import Iterable

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mman import apis
from mman.models.splitters.block_table import block_table
from mman.registry import MODELS, register_all_modules
from mman.utils.errors import UserError, one_line_errors


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    return apis.config_parser(__doc__)


def build_model(cfg: Config) -> nn.Module:
    """Build the LocalImageClassifier of a config as the Runner would.

    Raises:
        UserError: If the config has none, or it cannot be built.
    """
    model = cfg.get('model') or {}
    if model.get('splitter') is None:
        raise UserError(
            f'config {cfg.filename!r} has no model.splitter: only a LocalImageClassifier is cut '
            'into local blocks'
        )
    register_all_modules()
    init_default_scope(cfg.get('default_scope', 'mman'))
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        return MODELS.build(model)
    except (KeyError, ValueError) as error:
        reason = ' '.join(str(error.args[0]).split())
        raise UserError(
            f'the model of config {cfg.filename!r} cannot be built: {reason}'
        ) from error


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
        model = build_model(apis.load_config(args.config, args.cfg_options))
        print(f'{block_table(model)}\n\n{totals(model)}')


if __name__ == '__main__':
    main()
