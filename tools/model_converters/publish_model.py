"""Reduce a checkpoint of training to what inference needs, named by its checksum."""

import argparse
import hashlib
from collections.abc import Mapping

import torch
from new_files import check_place, torch_bytes, write_new

import mman
from mman import apis
from mman.apis.models import read_checkpoint
from mman.utils.errors import UserError, one_line_errors

AUX_HEADS = 'aux_heads.'
DIGITS = 8
# Of what a Runner writes into meta, what tells how the weights came to be.
META = ('cfg', 'block_ends', 'epoch', 'iter', 'mmengine_version')


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', type=apis.existing_file, help='checkpoint of training')
    parser.add_argument('out', help='start of the new name: OUT-<8 digits of its sha256>.pth')
    parser.add_argument(
        '--weights',
        choices=('averaged', 'current'),
        help='which weights, where EMAHook saved both [the only ones]',
    )
    parser.add_argument(
        '--keep-aux-heads', action='store_true', help='keep the aux heads, for early exits'
    )
    return parser


def published(checkpoint: Mapping, weights: str | None, keep_aux_heads: bool) -> dict:
    """The checkpoint to publish.

    Args:
        checkpoint (Mapping): Of training.
        weights (str | None): 'averaged' or 'current', None if there is one
            kind only.
        keep_aux_heads (bool): Whether to keep the entries ``aux_heads.*``.

    Raises:
        UserError: If ``weights`` does not fit what there is, or aux heads
            should be kept that are not there.
    """
    chosen = chosen_weights(checkpoint, weights)
    if not keep_aux_heads:
        chosen = {name: v for name, v in chosen.items() if not name.startswith(AUX_HEADS)}
    elif not any(name.startswith(AUX_HEADS) for name in chosen):
        raise UserError('--keep-aux-heads: the checkpoint has no aux heads')
    meta = checkpoint.get('meta') or {}
    kept = {key: meta[key] for key in META if key in meta}
    if 'block_ends' in kept:
        kept['block_ends'] = list(kept['block_ends'])
    classes = (meta.get('dataset_meta') or {}).get('classes')
    if classes is not None:
        kept['dataset_meta'] = dict(classes=[str(name) for name in classes])
    kept.update(mman_version=mman.__version__, torch_version=str(torch.__version__))
    # Copies: a view would be saved with all of its storage.
    tensors = {name: value.detach().cpu().clone() for name, value in chosen.items()}
    return dict(meta=kept, state_dict=tensors)


def chosen_weights(checkpoint: Mapping, weights: str | None) -> dict[str, torch.Tensor]:
    """The averaged or the current weights, by name in the classifier.

    EMAHook saves the averages as ``state_dict`` and the current weights, with
    a prefix, as ``ema_state_dict``.

    Raises:
        UserError: If there is a choice and none was made, or the other way
            round.
    """
    plain = {name.removeprefix('module.'): v for name, v in checkpoint['state_dict'].items()}
    other = checkpoint.get('ema_state_dict')
    if (other is None) != (weights is None):
        raise UserError(
            f'--weights {weights}: the checkpoint has one kind of weights only, leave it out'
            if other is None
            else 'the checkpoint has averaged and current weights: choose by --weights'
        )
    if weights != 'current':
        return plain
    current = {name.removeprefix('module.'): value for name, value in other.items()}
    return {name: current[name] for name in plain}


def publish(path: str, out: str, weights: str | None, keep_aux_heads: bool) -> str:
    """Write the published checkpoint and return its path.

    Raises:
        UserError: If the checkpoint is refused, or a file of the new name
            exists.
    """
    content = torch_bytes(published(read_checkpoint(path), weights, keep_aux_heads))
    digest = hashlib.sha256(content).hexdigest()[:DIGITS]
    target = f'{out.removesuffix(".pth")}-{digest}.pth'
    check_place(target)
    write_new(target, content)
    return target


def main() -> None:
    """Publish, then print where."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        print(publish(args.checkpoint, args.out, args.weights, args.keep_aux_heads))


if __name__ == '__main__':
    main()
