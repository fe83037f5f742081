"""A comparison as Markdown and as CSV: what was compared and how, and the table."""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmengine.config import Config

from ..tables import markdown_table, mebibytes, write_csv
from .costs import Times
from .lines import Line, Spread, difference, find_bp, spread
from .runs import Run

FIELDS = (
    *('method', 'num_blocks', 'seeds', 'error_mean', 'error_std', 'error_of'),
    *('minus_bp_mean', 'minus_bp_std', 'host', 'minus_host_mean', 'minus_host_std'),
    *('peak_bytes', 'peak_over_bp', 'seconds_per_iteration', 'time_over_bp'),
    *('parameters', 'flops', 'flops_over_bp'),
)
RUN_FIELDS = ('method', 'num_blocks', 'seed', 'top1', 'seconds', 'resumed')
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
    table = comparison_table(lines, len(seeds))
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
    splits = {
        line.candidate.num_blocks: line.cost.ends for line in lines if line.candidate.num_blocks > 1
    }
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


def comparison_table(lines: Sequence[Line], num_seeds: int) -> str:
    """The lines as a Markdown table.

    Args:
        lines (Sequence[Line]): The lines, BP among them.
        num_seeds (int): How many seeds there should be; fewer are told.
    """
    bp = find_bp(lines)
    by_name = {line.name: line for line in lines}
    hosts = {line.name: by_name.get(line.host) for line in lines}
    columns = {
        'method': [line.candidate.method for line in lines],
        'K': [str(line.candidate.num_blocks) for line in lines],
        'top-1 error, %': [_error(line, num_seeds) for line in lines],
        '- BP': ['' if line.candidate.num_blocks == 1 else _difference(line, bp) for line in lines],
    }
    if any(hosts.values()):
        columns['- host'] = [_difference(line, hosts[line.name]) for line in lines]
    columns |= {
        'peak, MiB': [mebibytes(line.cost.peak) for line in lines],
        'peak / BP': [f'{line.cost.peak / bp.cost.peak:.3f}' for line in lines],
    }
    if bp.seconds is not None:
        columns['time / BP'] = [f'{line.time_ratio:.2f}' for line in lines]
    columns |= {
        'parameters': [f'{line.cost.parameters:,}' for line in lines],
        'GFLOPs': [f'{line.cost.flops / 1e9:,.2f}' for line in lines],
        'FLOPs / BP': [f'{line.cost.flops / bp.cost.flops:.3f}' for line in lines],
    }
    return markdown_table(list(columns), zip(*columns.values(), strict=True))


def write_lines(path: Path, lines: Sequence[Line]) -> None:
    """Write the values of the table in full precision; cells without a value are empty."""
    bp = find_bp(lines)
    by_name = {line.name: line for line in lines}
    values = [_values(line, bp, by_name.get(line.host)) for line in lines]
    write_csv(path, FIELDS, values, overwrite=True)


def write_runs(path: Path, runs: Iterable[Run]) -> None:
    """Write every run that has ended."""
    ended = [(run, run.result()) for run in runs if run.result() is not None]
    same = [
        dict(method=run.candidate.method, num_blocks=run.candidate.num_blocks, seed=run.seed)
        | result
        for run, result in ended
    ]
    write_csv(path, RUN_FIELDS, same, overwrite=True)


def _values(line: Line, bp: Line, host: Line | None) -> dict:
    error = spread(line.errors)
    return dict(
        method=line.candidate.method,
        num_blocks=line.candidate.num_blocks,
        seeds=len(line.errors),
        error_mean=error and error.mean,
        error_std=error and error.std,
        error_of=bp.name if line.shares_bp else line.name,
        **_named('minus_bp', difference(line, bp)),
        host=line.host,
        **_named('minus_host', difference(line, host) if host else None),
        peak_bytes=line.cost.peak,
        peak_over_bp=line.cost.peak / bp.cost.peak,
        seconds_per_iteration=line.seconds,
        time_over_bp=line.time_ratio,
        parameters=line.cost.parameters,
        flops=line.cost.flops,
        flops_over_bp=line.cost.flops / bp.cost.flops,
    )


def _named(name: str, found: Spread | None) -> dict:
    return {f'{name}_mean': found and found.mean, f'{name}_std': found and found.std}


def _error(line: Line, num_seeds: int) -> str:
    found = spread(line.errors)
    if found is None:
        return 'failed'
    text = _spread_text(found, '.2f') + (' (of BP)' if line.shares_bp else '')
    return text if found.count == num_seeds else f'{text} ({found.count} of {num_seeds} seeds)'


def _difference(line: Line, other: Line | None) -> str:
    found = difference(line, other) if other else None
    return _spread_text(found, '+.2f') if found else ''


def _spread_text(found: Spread, digits: str) -> str:
    mean = format(found.mean, digits)
    return mean if found.std is None else f'{mean} ± {found.std:.2f}'
