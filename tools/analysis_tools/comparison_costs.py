"""Predicted bytes and arithmetic of an iteration of a comparison's rows."""

from dataclasses import dataclass

from comparison_grid import Row

from mman.apis.memory_prediction import build_local_model, predict_memory
from mman.utils.errors import UserError


@dataclass(frozen=True)
class Cost:
    """A training iteration, predicted.

    Args:
        peak (int): Bytes of live tensors at the peak.
        flops (int): Floating-point operations.
        parameters (int): Of backbone and heads, momentum units included.
        ends (tuple[str, ...]): The last unit of every block.
    """

    peak: int
    flops: int
    parameters: int
    ends: tuple[str, ...]


def predict(row: Row, batch_size: int) -> Cost:
    """What an iteration of a row takes, from one on fake tensors.

    Raises:
        UserError: If it cannot be built or run; names the row.
    """
    try:
        count = sum(p.numel() for p in build_local_model(row.cfg).parameters())
        report = predict_memory(row.cfg, batch_size)
    except (KeyError, TypeError, ValueError) as error:
        reason = ' '.join(str(error.args[0] if error.args else error).split())
        raise UserError(f'{row.name} cannot be trained: {reason}') from error
    return Cost(report.peak, report.flops, count, report.ends)
