"""A comparison as Markdown and as CSV: what was compared and how, and the table."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median, stdev

from mmengine.config import Config

from mman.apis.memory_prediction import MemoryReport
from mman.utils.flop_count import multiply_adds

from ..baselines import PARTS_NOTE
from ..tables import markdown_table, mebibytes
from ..timing import device_name
from .grid import BP, Candidate, host_of

COUNTED = (
    'Error: mean ± sample standard deviation of the top-1 error on the test set, of the weights '
    'after the last epoch. "- BP" and "- host": how much larger it is than that of BP, and of the '
    'row with the very head that a momentum head hosts; mean ± standard deviation of the '
    'differences by seed.',
    'Rows of bp are BP that takes less memory: -checkpoint recomputes every unit in the backward '
    'pass, -cpu keeps saved tensors on the CPU, -backward-step steps each parameter once its '
    'gradient is there. Their weights are those of BP, bit for bit, so they were not trained '
    'again. -accumulateN has the batch in N parts and was not trained: costs only.',
    PARTS_NOTE,
    'Peak: bytes of live tensors in a training iteration, predicted on fake tensors: parameters, '
    'buffers, gradients, optimizer state, activations, the batch; not the workspace of kernels or '
    'the reserve of an allocator. Host: what is kept in the memory of the CPU besides; "peak / BP" '
    'is of both together. Copies between them take time that multiply-adds do not show.',
    'Parameters: while training, heads and momentum units included. Multiply-adds: of matrix '
    'products and convolutions in an iteration, a multiplication with its addition counting once.',
)
FLOAT32 = 4  # bytes


def make_rows(
    candidates: Sequence[Candidate],
    errors: Mapping[str, Mapping[int, float]],
    costs: Mapping[str, MemoryReport],
    seconds: Mapping[str, Sequence[float]],
) -> list[dict]:
    """The values of the table, a row for each candidate, as in comparison.csv.

    ``_mean`` and ``_std`` are over seeds; without a run, or of one alone, they are None.
    ``minus_bp`` and ``minus_host`` are differences of errors over the seeds of both, paired.
    ``time_over_bp`` is the median over the rounds of the time over that of BP in the same
    round: a load that comes and goes hits both.

    Args:
        candidates (Sequence[Candidate]): The candidates, BP among them.
        errors (Mapping): Top-1 error in % by seed, by candidate; of runs that ended.
        costs (Mapping): Of an iteration, by candidate.
        seconds (Mapping): Times of an iteration by candidate; empty if not measured.
    """
    bp = next(one.name for one in candidates if one.method == BP)
    rows = []
    for one in candidates:
        trained = one.trained_as
        own, host = errors.get(trained, {}), host_of(candidates, one)
        cost, times = costs[one.name], seconds.get(one.name)
        ratios = [a / b for a, b in zip(times, seconds[bp], strict=True)] if times else None
        rows.append(
            dict(
                method=one.method,
                num_blocks=one.num_blocks,
                seeds=len(own),
                **_spread('error', own.values()),
                error_of=trained,
                **_spread('minus_bp', _differences(own, errors.get(bp, {}))),
                host=host,
                **_spread('minus_host', _differences(own, errors.get(host, {}))),
                peak_bytes=cost.peak,
                cpu_bytes=cost.host,
                peak_over_bp=(cost.peak + cost.host) / costs[bp].peak,
                seconds_per_iteration=median(times) if times else None,
                time_over_bp=median(ratios) if ratios else None,
                parameters=cost.parameters // FLOAT32,
                multiply_adds=multiply_adds(cost.flops * one.parts),
                multiply_adds_over_bp=cost.flops * one.parts / costs[bp].flops,
            )
        )
    return rows


def _differences(errors: Mapping[int, float], others: Mapping[int, float]) -> list[float]:
    return [error - others[seed] for seed, error in errors.items() if seed in others]


def _spread(name: str, values: Sequence[float]) -> dict[str, float | None]:
    values = list(values)
    return {
        f'{name}_mean': mean(values) if values else None,
        f'{name}_std': stdev(values) if len(values) > 1 else None,
    }


def report(
    cfg: Config,
    rows: Sequence[dict],
    seeds: Sequence[int],
    ends: Mapping[int, Sequence[str]],
    rounds: int | None,
) -> str:
    """The whole file, of the rows of :func:`make_rows` and the config that they share.

    ``ends`` are the last units of all blocks, by K; ``rounds``, how many times of each were
    measured, if any were.
    """
    notes = [*_shared(cfg, seeds, ends), *COUNTED]
    if rounds is not None:
        notes.append(
            f'Time: an iteration over one of BP in the same round, median of {rounds} rounds in '
            'which all rows took turns in one process, on random images, without data loading '
            f'({device_name()}).'
        )
    style = dict(width=110, initial_indent='- ', subsequent_indent='  ')
    items = '\n'.join(textwrap.fill(note, **style) for note in notes)
    table = comparison_table(rows, len(seeds))
    return f'# Methods compared: {Path(cfg.filename).stem}\n\n{table}\n\n{items}\n'


def _shared(cfg: Config, seeds: Sequence[int], ends: Mapping[int, Sequence[str]]) -> list[str]:
    """What is the same in all rows."""
    parts = (cfg.model.backbone, cfg.optim_wrapper.optimizer, cfg.train_cfg)
    network, optimizer, loops = (', '.join(f'{k}={v!r}' for k, v in p.items()) for p in parts)
    notes = [
        f'The same in all rows: network ({network}), data, batches of '
        f'{cfg.train_dataloader.batch_size}, optimizer ({optimizer}), training ({loops}), and the '
        f'seeds {", ".join(map(str, seeds))}; heads as their base files or the config have them.'
    ]
    for count, names in ends.items():
        notes.append(
            f'K = {count}: all methods have the same split, the blocks end with '
            f'{", ".join(names)}. Papers that cut otherwise (AugLocal: every unit, the last few '
            'together) are not reproduced by it.'
        )
    if (recompute := cfg.model.get('recompute', 'none')) != 'none':
        notes.append(f'Rows but those of BP have model.recompute={recompute!r}, as the config.')
    return notes


def comparison_table(rows: Sequence[dict], num_seeds: int) -> str:
    """The rows of :func:`make_rows` as a Markdown table; it tells where seeds are missing."""
    lines = []
    for row in rows:
        name = f'{row["method"]}_k{row["num_blocks"]}'
        error = _spread_text(row, 'error', '.2f') or ('failed' if row['error_of'] else '-')
        if row['seeds']:
            error += ' (of BP)' if row['error_of'] != name else ''
            missing = row['seeds'] < num_seeds
            error += f' ({row["seeds"]} of {num_seeds} seeds)' if missing else ''
        lines.append(
            {
                'method': row['method'],
                'K': str(row['num_blocks']),
                'top-1 error, %': error,
                '- BP': _spread_text(row, 'minus_bp', '+.2f') if row['num_blocks'] > 1 else '',
                '- host': _spread_text(row, 'minus_host', '+.2f'),
                'peak, MiB': mebibytes(row['peak_bytes']),
                'host, MiB': mebibytes(row['cpu_bytes']),
                'peak / BP': f'{row["peak_over_bp"]:.3f}',
                'time / BP': f'{row["time_over_bp"] or 0:.2f}',
                'parameters': f'{row["parameters"]:,}',
                'multiply-adds, G': f'{row["multiply_adds"] / 1e9:,.2f}',
                'multiply-adds / BP': f'{row["multiply_adds_over_bp"]:.3f}',
            }
        )
    absent = {'- host'} if not any(row['host'] for row in rows) else set()
    absent |= {'time / BP'} if rows[0]['time_over_bp'] is None else set()
    return markdown_table([{k: v for k, v in line.items() if k not in absent} for line in lines])


def _spread_text(row: dict, name: str, digits: str) -> str:
    """Mean and deviation, as far as they are there."""
    found, deviation = row[f'{name}_mean'], row[f'{name}_std']
    if found is None:
        return ''
    return format(found, digits) + ('' if deviation is None else f' ± {deviation:.2f}')
