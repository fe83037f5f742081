import math
from collections.abc import Mapping, Sequence
from numbers import Real

from mman.utils import UserError

from .context import BlockContext

LossWeight = float | Sequence[float] | Mapping[str, float]


def loss_weight(value: LossWeight, context: BlockContext, key: str) -> float:
    """The weight of one loss in one block.

    Args:
        value (float | Sequence[float] | dict): A constant for every block; a
            list with one weight per aux head; or ``dict(first=a, last=b)``,
            linear in the block index from ``a`` at block 0 to ``b`` at block
            K - 2 (InfoPro). With K = 2 it is ``a``.
        context (BlockContext): The block.
        key (str): Name of the config key, for messages.

    Raises:
        UserError: If a list has the wrong length or a value is not a finite
            number.
    """
    if isinstance(value, Mapping):
        if set(value) != {'first', 'last'}:
            raise UserError(f'{key}={dict(value)} should have the keys first and last')
        ratio = context.index / (context.num_heads - 1) if context.num_heads > 1 else 0.0
        weight = value['first'] * (1 - ratio) + value['last'] * ratio
    elif isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != context.num_heads:
            raise UserError(
                f'{key} has {len(value)} weights, but there are {context.num_heads} blocks with '
                f'an aux head (num_blocks={context.num_blocks}): give one weight for each'
            )
        weight = value[context.index]
    else:
        weight = value
    if not isinstance(weight, Real) or isinstance(weight, bool) or not math.isfinite(weight):
        raise UserError(f'{key}={value!r} should be a number, a list of them, or first and last')
    return float(weight)


def loss_weights(context: BlockContext, **values: LossWeight) -> list[float]:
    """The weights of all losses in one block, by config key; see :func:`loss_weight`.

    Raises:
        UserError: If every weight is zero: the block would not train.
    """
    weights = [loss_weight(value, context, key) for key, value in values.items()]
    if not any(weights):
        raise UserError(
            f'block {context.index} would train on nothing: {", ".join(values)} '
            f'{"is" if len(weights) == 1 else "are all"} 0 there'
        )
    return weights
