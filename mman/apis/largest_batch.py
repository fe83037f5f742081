"""The largest batch whose training is predicted to fit a given memory."""

from mmengine.config import Config

from mman.utils import UserError

from .memory_prediction import predict_memory

_GIB = 2**30
# Normalising over a batch needs two values.
_SMALLEST = 2


def largest_batch(cfg: Config, gib: float) -> int:
    """The most images of a batch for which :func:`predict_memory` stays within a budget.

    The data is not looked at: there may be fewer images.

    Args:
        cfg (Config): With ``model`` (a LocalImageClassifier) and ``optim_wrapper``.
        gib (float): Budget of live tensors in 2^30 bytes, above 0.

    Raises:
        UserError: If a batch of 2 does not fit; says what it takes.
    """
    limit = int(gib * _GIB)
    fits = (_SMALLEST, predict_memory(cfg, _SMALLEST).peak)
    if fits[1] > limit:
        raise UserError(
            f"memory_budget.gib={gib:g} is too small for batch_size='auto': a batch of "
            f'{_SMALLEST} takes {fits[1] / _GIB:.3g} GiB'
        )
    guess, fails = 2 * _SMALLEST, None
    while fails is None or fails[0] - fits[0] > 1:
        found = (guess, predict_memory(cfg, guess).peak)
        # Peaks are almost straight lines: two points tell about where the limit is.
        per_image = max((found[1] - fits[1]) / (found[0] - fits[0]), 1)
        if found[1] <= limit:
            fits = found
        else:
            fails = found
        if fails is not None:
            per_image = (fails[1] - fits[1]) / (fails[0] - fits[0])
        guess = max(int(fits[0] + (limit - fits[1]) / per_image), fits[0] + 1)
        if fails is not None:
            guess = min(guess, fails[0] - 1)
    return fits[0]
