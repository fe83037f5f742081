"""The block table that is printed when training starts."""

from collections.abc import Iterable

from torch import nn

_HEADERS = ('block', 'units', 'output shape', 'parameters', 'aux head', 'aux parameters')


def block_table(model: nn.Module) -> str:
    """A text table of the local blocks of a LocalImageClassifier, one row each.

    Parameters are the trainable ones, with the frozen ones of a momentum unit beside them.
    """
    rows = [_HEADERS]
    for k, units in enumerate(model.block_units):
        parameters = [p for unit in units for p in unit.parameters()]
        span = units[0].name if len(units) == 1 else f'{units[0].name} - {units[-1].name}'
        is_last = k == model.num_blocks - 1
        head = model.head if is_last else model.aux_heads[k]
        host = f' > {type(head.host).__name__}' if hasattr(head, 'host') else ''
        rows.append(
            (
                str(k),
                f'{span} ({len(units)})',
                ' x '.join(map(str, units[-1].final_shape)),
                _count(parameters),
                f'(head) {type(head).__name__}' if is_last else type(head).__name__ + host,
                _count(head.parameters()),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADERS))]
    lines = ['  '.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return '\n'.join(line.rstrip() for line in lines)


def _count(parameters: Iterable[nn.Parameter]) -> str:
    parameters = list(parameters)
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    frozen = sum(p.numel() for p in parameters if not p.requires_grad)
    return f'{trained:,}' + (f' (+{frozen:,} frozen)' if frozen else '')
