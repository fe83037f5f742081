"""What a built Runner lacks or would choke on, found before data is read."""

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

from mman.engine.hooks import MomentumUpdateHook
from mman.models.aux_heads import MomentumAuxHead
from mman.utils.build_errors import named_errors, short
from mman.utils.errors import UserError
from mman.utils.random_state import unchanged_random_state

from .lazy_data import lazy_dataset

# Mixing needs a pair.
_IMAGES = 2
_KNOWN = ('mman.', 'mmpretrain.', 'mmengine.')
# Beyond what any normalisation makes of 0 to 255; the first convolutions would overflow.
_LARGEST = 1e6


def try_preprocessor(runner: Runner) -> None:
    """Augment and normalise some images as in training. Draws no random numbers.

    They have the size of those in memory where these are augmented, else that
    of the network. Networks that do not say it are left alone.

    Raises:
        UserError: If that fails, gives numbers that are not finite or images of
            another size than the network's; shows ``data_preprocessor``.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    shape = getattr(model, 'input_shape', None)
    if shape is None:
        return
    where, cfg = _place(runner)
    dataset = lazy_dataset(runner.cfg.train_dataloader.dataset, 'train_dataloader.dataset')
    entering = getattr(dataset, 'input_shape', None) or shape
    images = torch.arange(_IMAGES * torch.Size(entering).numel()).remainder(256)
    batch = dict(
        inputs=images.to(torch.uint8).view(_IMAGES, *entering),
        data_samples=[DataSample().set_gt_label(0) for _ in range(_IMAGES)],
    )
    with unchanged_random_state(), named_errors(cfg, where), torch.no_grad():
        inputs = model.data_preprocessor(batch, True)['inputs']
    found = tuple(inputs.shape[1:])
    if found != tuple(shape):
        raise UserError(
            f'model.input_shape={tuple(shape)} differs from the images {found} that '
            f'{where}={short(cfg)} makes of those of train_dataloader, {tuple(entering)}'
        )
    largest = inputs.abs().max().item()
    if not largest < _LARGEST:
        raise UserError(f'{where}={short(cfg)} makes pixels of {largest:g}; they should be near 1')


def check_momentum(runner: Runner) -> None:
    """Refuse momentum units that nothing would keep.

    A hook of neither mman, mmpretrain nor mmengine may do it.

    Raises:
        UserError: Names custom_hooks.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    heads = getattr(model, 'aux_heads', ())
    if not any(isinstance(head, MomentumAuxHead) for head in heads):
        return
    if all(
        type(hook).__module__.startswith(_KNOWN) and not isinstance(hook, MomentumUpdateHook)
        for hook in runner.hooks
    ):
        raise UserError(
            "custom_hooks lacks dict(type='MomentumUpdateHook'): nothing would update the momentum "
            'units of model.aux_head'
        )


def _place(runner: Runner) -> tuple[str, dict]:
    """Where the config has it; the model's own goes first."""
    own = runner.cfg.model.get('data_preprocessor')
    if own is not None:
        return 'model.data_preprocessor', own.to_dict()
    common = runner.cfg.get('data_preprocessor')
    return 'data_preprocessor', common.to_dict() if common is not None else {}
