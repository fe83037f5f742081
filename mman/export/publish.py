"""Publishing a checkpoint of training."""

import hashlib
from collections.abc import Mapping

import torch

import mman
from mman.apis.models import AUX_HEADS, read_checkpoint
from mman.utils import UserError
from mman.utils.checkpoint_fit import weights_and_meta
from mman.utils.new_file import check_new_file, write_new

from .exported import torch_bytes

# Of what a Runner writes into meta, what tells how the weights came to be.
_META = ('cfg', 'block_ends', 'epoch', 'iter', 'mmengine_version')


def publish_model(
    checkpoint: str, out: str, weights: str | None = None, keep_aux_heads: bool = False
) -> str:
    """Reduce a checkpoint of training to what inference needs, named by its checksum.

    The file holds ``state_dict``, the plain classifier, and ``meta``: the
    config's text, classes, split and versions.

    Args:
        checkpoint (str): A local file.
        out (str): Start of the new name, ``<out>-<8 digits of its sha256>.pth``.
        weights (str | None): 'averaged' or 'current', where EMAHook saved both.
            Defaults to None, the only ones.
        keep_aux_heads (bool): Whether to keep the aux heads, for early exits. Defaults to False.

    Returns:
        str: The path of the new file.

    Raises:
        UserError: If the checkpoint or an argument is refused, or a file of the new name exists.
    """
    content = torch_bytes(_published(read_checkpoint(checkpoint), weights, keep_aux_heads))
    digest = hashlib.sha256(content).hexdigest()[:8]
    target = f'{out.removesuffix(".pth")}-{digest}.pth'
    check_new_file(target, '.pth')
    write_new(target, content)
    return target


def _published(checkpoint: Mapping, weights: str | None, keep_aux_heads: bool) -> dict:
    """The content of the published file."""
    chosen = _chosen_weights(checkpoint, weights)
    if not keep_aux_heads:
        chosen = {name: v for name, v in chosen.items() if not name.startswith(AUX_HEADS)}
    elif not any(name.startswith(AUX_HEADS) for name in chosen):
        raise UserError('keep_aux_heads: the checkpoint has no aux heads')
    meta = checkpoint['meta']
    kept = {key: meta[key] for key in _META if key in meta}
    if 'block_ends' in kept:
        kept['block_ends'] = list(kept['block_ends'])
    classes = (meta.get('dataset_meta') or {}).get('classes')
    if classes is not None:
        kept['dataset_meta'] = dict(classes=[str(name) for name in classes])
    kept.update(mman_version=mman.__version__, torch_version=str(torch.__version__))
    # Copies: a view would be saved with all of its storage.
    tensors = {name: value.detach().cpu().clone() for name, value in chosen.items()}
    return dict(meta=kept, state_dict=tensors)


def _chosen_weights(checkpoint: Mapping, weights: str | None) -> dict[str, torch.Tensor]:
    """The averaged or the current weights, by name in the classifier.

    EMAHook saves the averages as ``state_dict`` and the current weights, with
    a prefix, as ``ema_state_dict``.
    """
    if weights not in (None, 'averaged', 'current'):
        raise UserError(f"weights={weights!r} should be 'averaged' or 'current'")
    other = checkpoint.get('ema_state_dict')
    if (other is None) != (weights is None):
        raise UserError(
            f'weights={weights!r}: the checkpoint has one kind of weights only, leave it out'
            if other is None
            else 'the checkpoint has averaged and current weights: choose by weights'
        )
    if weights != 'current':
        return checkpoint['state_dict']
    current, _ = weights_and_meta(dict(state_dict=other), 'ema_state_dict of the checkpoint')
    return {name: current[name] for name in checkpoint['state_dict']}
