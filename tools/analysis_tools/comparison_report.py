"""The Markdown file of a comparison: what was compared and how, and the table."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from comparison_rows import Line
from comparison_table import markdown_table
from comparison_time import Times
from mmengine.config import Config

WIDTH = 110
COUNTED = (
    'Error: mean ± sample standard deviation of the top-1 error on the test set, of the weights '
    'after the last epoch. "- BP" and "- host": how much larger it is than that of BP, and of the '
    'row with the very head that a momentum head hosts; mean ± standard deviation of the '
    'differences by seed.',
    'bp-checkpoint is BP that recomputes every unit in the backward pass. Its weights are those of '
    'BP, bit for bit, so it was not trained again.',
    'Peak: bytes of live tensors in a training iteration, predicted on fake tensors: parameters, '
    'buffers, gradients, optimizer state, activations, the batch; not the workspace of kernels or '
    'the reserve of an allocator.',
    'Parameters: while training, heads and momentum units included. FLOPs: of matrix products and '
    'convolutions in an iteration, a multiplication and an addition counting two.',
)


def report(cfg: Config, lines: Sequence[Line], seeds: Sequence[int], times: Times) -> str:
    """The whole file.

    Args:
        cfg (Config): What all rows share.
        lines (Sequence[Line]): The lines of the table.
        seeds (Sequence[int]): Of every line.
        times (Times): Measured times, maybe none.
    """
    notes = [*_shared(cfg, lines, seeds), *COUNTED, *_timing(times)]
    items = '\n'.join(
        textwrap.fill(note, WIDTH, initial_indent='- ', subsequent_indent='  ') for note in notes
    )
    table = markdown_table(lines, len(seeds))
    return f'# Methods compared: {Path(cfg.filename).stem}\n\n{table}\n\n{items}\n'


def _shared(cfg: Config, lines: Sequence[Line], seeds: Sequence[int]) -> list[str]:
    """What is the same in all rows."""
    optimizer = ', '.join(f'{k}={v!r}' for k, v in cfg.optim_wrapper.optimizer.items())
    loops = ', '.join(f'{k}={v!r}' for k, v in cfg.train_cfg.items())
    network = ', '.join(f'{k}={v!r}' for k, v in cfg.model.backbone.items())
    notes = [
        f'The same in all rows: network ({network}), data, batches of '
        f'{cfg.train_dataloader.batch_size}, optimizer ({optimizer}), training ({loops}), and the '
        f'seeds {", ".join(map(str, seeds))}; heads as their base files or the config have them.'
    ]
    splits = {line.row.num_blocks: line.cost.ends for line in lines if line.row.num_blocks > 1}
    for count, ends in splits.items():
        notes.append(
            f'K = {count}: all methods have the same split, the blocks end with '
            f'{", ".join(ends)}. Papers that cut otherwise (AugLocal: every unit, the last few '
            'together) are not reproduced by it.'
        )
    if (recompute := cfg.model.get('recompute', 'none')) != 'none':
        notes.append(f'Rows but those of BP have model.recompute={recompute!r}, as the config.')
    return notes


def _timing(times: Times) -> list[str]:
    if not times.seconds:
        return []
    rounds = len(next(iter(times.seconds.values())))
    return [
        f'Time: an iteration over one of BP in the same round, median of {rounds} rounds in which '
        'all rows took turns in one process, on random images, without data loading '
        f'({times.device}).'
    ]
