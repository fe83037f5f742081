"""Reading the weights of a plain network from a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .atomic_file import sha256_of
from .checkpoint import load_from_local
from .errors import UserError

# Under which names trainers keep weights beside other things.
_ENTRIES = ('state_dict', 'model', 'state_dict_ema', 'model_ema')
_ADVICE = 'Save its weights alone: torch.save(model.state_dict(), ...)'


def read_weights(
    checkpoint: str, entry: str | None = None, sha256: str | None = None
) -> dict[str, torch.Tensor]:
    """The weights in a file of torch.save or safetensors, on the CPU.

    Nothing in the file can run code. Prefixes ``module.`` of wrappers are
    dropped, and so is the counter of torch's AveragedModel.

    Args:
        checkpoint (str): A local file.
        entry (str | None): Which of the file's dicts of weights, where it has
            several: 'state_dict', 'model', 'state_dict_ema' or 'model_ema'.
        sha256 (str | None): The file's checksum, in hexadecimal. Defaults to
            None, not checked.

    Raises:
        UserError: If the file is not there, damaged, another or holds anything else.
    """
    where = f'pretrained.checkpoint={checkpoint!r}'
    path = Path(checkpoint).expanduser()
    if not path.is_file():
        raise UserError(f'{where} should be a local file')
    if sha256 is not None and sha256_of(path) != sha256.lower():
        raise UserError(f'{where} has sha256 {sha256_of(path)}, not pretrained.sha256={sha256!r}')
    found = _chosen(_content(path, where), entry, where)
    while found and all(name.startswith('module.') for name in found if name != 'n_averaged'):
        found.pop('n_averaged', None)
        found = {name.removeprefix('module.'): value for name, value in found.items()}
    if not found:
        raise UserError(f'{where} holds no weights')
    return found


def _content(path: Path, where: str) -> Any:
    if path.suffix != '.safetensors':
        return load_from_local(str(path), 'cpu', _ADVICE)
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(f'{where} needs the package safetensors: {error}') from error
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f'{where} cannot be read: {error}') from error


def _chosen(content: Any, entry: str | None, where: str) -> dict[str, torch.Tensor]:
    """The dict of weights that is meant."""
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise UserError(f'{where} should hold a dict of weights, but holds of type {kind}')
    entries = [name for name in _ENTRIES if isinstance(content.get(name), Mapping)]
    if entry is not None and entry not in entries:
        raise UserError(
            f'pretrained.entry={entry!r} should be one of the dicts of weights in {where}: '
            f'{", ".join(entries) or "it has none by name, leave entry out"}'
        )
    if entry is None and len(entries) > 1:
        raise UserError(f'{where} has {" and ".join(entries)}: choose by pretrained.entry')
    chosen = entry or next(iter(entries), None)
    weights = content if chosen is None else content[chosen]
    for name, value in weights.items():
        if not isinstance(value, torch.Tensor):
            fault = f'{name!r} in it is of type {type(value).__name__}'
            raise UserError(f'{where} should hold a dict of weights, but {fault}')
    return dict(weights)
