"""The feature maps of one image after every block, with and without momentum and bias units."""

from collections.abc import Iterator, Sequence

import mmcv
import numpy as np
import torch
from matplotlib.axes import Axes
from mmcv.transforms import Compose
from mmengine.config import Config
from torch import nn

from mman.apis.inspection import (
    block_outputs,
    checked_block,
    local_model,
    pipeline_of,
)
from mman.apis.models import load_weights
from mman.models import MomentumAuxHead
from mman.registry import TRANSFORMS
from mman.utils.errors import UserError

from .plots import new_figure, save_png

INCH = 1.6
#: Names of maps, in the order of the picture's columns.
OUTPUT, MOMENTUM, BIAS, MIXED = 'block output x', 'momentum(x)', 'bias(x)', 'mixed'
COLUMNS = (OUTPUT, MOMENTUM, BIAS, MIXED)


def load_with_units(
    cfg: Config, checkpoint: str, device: str = 'cpu', unsafe: bool = False
) -> nn.Module:
    """The model of a config with a checkpoint, in which no momentum unit may be missing.

    Args:
        cfg (Config): The config of a LocalImageClassifier.
        checkpoint (str): Its checkpoint.
        device (str): Where the model is to run. Defaults to 'cpu'.
        unsafe (bool): Whether a checkpoint may run code. Defaults to False.

    Raises:
        UserError: If the config or the checkpoint is refused.
    """
    model = local_model(cfg)
    momentum = any(isinstance(head, MomentumAuxHead) for head in model.aux_heads)
    load_weights(model, checkpoint, aux_heads=momentum, unsafe=unsafe)
    return model.to(device)


def chosen_maps(
    model: nn.Module,
    inputs: torch.Tensor,
    blocks: Sequence[int] | None = None,
    channels: Sequence[int] | None = None,
) -> dict[int, dict[str, torch.Tensor]]:
    """What :func:`block_maps` gives of some blocks.

    Args:
        model (nn.Module): A LocalImageClassifier in eval mode.
        inputs (Tensor): One normalised image, (1, C, H, W).
        blocks (Sequence[int] | None): Numbers of blocks. Defaults to None, all.
        channels (Sequence[int] | None): Channels that all maps must have.
            Defaults to None, any.

    Returns:
        dict: By block, maps (C, H, W) by name.

    Raises:
        UserError: If there is no such block or channel.
    """
    blocks = range(model.num_blocks) if blocks is None else blocks
    blocks = [checked_block(model, k) for k in blocks]
    maps = {k: row for k, row in enumerate(block_maps(model, inputs)) if k in blocks}
    fewest = min(len(one) for row in maps.values() for one in row.values())
    for channel in channels or ():
        if not 0 <= channel < fewest:
            raise UserError(
                f'channel {channel} does not exist: the maps have the channels 0 to {fewest - 1}'
            )
    return maps


@torch.no_grad()
def block_maps(model: nn.Module, inputs: torch.Tensor) -> Iterator[dict[str, torch.Tensor]]:
    """What comes out of every block, and what its momentum and bias units make of it.

    All are in eval mode, the momentum unit too: one image has no batch
    statistics worth the name, and the unit keeps running ones of its own.

    Args:
        model (nn.Module): A LocalImageClassifier in eval mode.
        inputs (Tensor): One normalised image, (1, C, H, W).

    Yields:
        dict[str, Tensor]: Maps (C, H, W) by name: :data:`OUTPUT`, and of a block
        with a MomentumAuxHead also :data:`MOMENTUM`, :data:`BIAS` and
        :data:`MIXED`, which is what the host head sees.
    """
    heads = [*model.aux_heads, None]
    for x, head in zip(block_outputs(model, inputs), heads, strict=True):
        found = {OUTPUT: x if head is None else head.as_map(x)}
        if isinstance(head, MomentumAuxHead):
            found |= _mixed_maps(head, x)
        yield {name: _as_map(value)[0].float().cpu() for name, value in found.items()}


def _mixed_maps(head: MomentumAuxHead, x: torch.Tensor) -> dict[str, torch.Tensor]:
    momentum_unit = head.momentum_unit.eval()
    maps = {MOMENTUM: momentum_unit(x), BIAS: head.bias_unit(x), MIXED: head.mixed(x)}
    # Units may make the map smaller; the host's context tells tokens their grid.
    return {name: head.host.as_map(value) for name, value in maps.items()}


def _as_map(x: torch.Tensor) -> torch.Tensor:
    """A vector that the last block gives, as a map of one pixel."""
    return x if x.ndim == 4 else x.reshape(len(x), -1, 1, 1)


def read_image(cfg: Config, model: nn.Module, path: str) -> tuple[np.ndarray, torch.Tensor]:
    """Read an image as the validation set's are.

    The pipeline of ``val_dataloader`` is applied to it; where that does not
    load files, the image is read in the model's order of colours and resized to
    ``model.input_shape``.

    Args:
        cfg (Config): The config.
        model (nn.Module): Its LocalImageClassifier, on its device.
        path (str): The image file.

    Returns:
        tuple: The image that the model sees, uint8 (H, W) or (H, W, 3), in its
        order of colours; and the normalised input, (1, C, H, W).

    Raises:
        UserError: If the file is no image, or the pipeline gives another shape.
    """
    pipeline = pipeline_of(cfg, 'val_dataloader')
    # A data set held in memory has none, and gives what PackInputs does.
    pipeline = pipeline or [dict(type='PackInputs')]
    if any('LoadImage' in str(step.get('type')) for step in pipeline):
        results = dict(img_path=path)
    else:
        results = _loaded(model, path)
    steps = Compose([TRANSFORMS.build(step) for step in pipeline])
    inputs = steps(results)['inputs']
    if tuple(inputs.shape) != model.input_shape:
        raise UserError(
            f'the pipeline of val_dataloader makes {tuple(inputs.shape)} of image {path!r}, but '
            f'model.input_shape is {model.input_shape}'
        )
    shown = inputs.flip(0) if _takes_bgr(model) else inputs
    shown = shown.permute(1, 2, 0).numpy().squeeze()
    return shown, model.data_preprocessor(dict(inputs=inputs[None]), False)['inputs']


def _loaded(model: nn.Module, path: str) -> dict:
    """What a data set in memory would give: ``img``, uint8 (H, W, C)."""
    channels, height, width = model.input_shape
    kind = dict(flag='grayscale') if channels == 1 else dict(flag='color')
    order = 'bgr' if _takes_bgr(model) else 'rgb'
    # Decoders raise errors of any type on damaged bytes, so all are caught.
    try:
        image = mmcv.imread(path, **kind, channel_order=order)
    except Exception as error:
        raise UserError(f'image {path!r} cannot be read: {error}') from error
    if image is None:
        raise UserError(f'image {path!r} cannot be read: it should be a PNG, JPEG or the like')
    if image.shape[:2] != (height, width):
        image = mmcv.imresize(image, (width, height))
    image = image.reshape(height, width, channels)
    return dict(img=image, img_shape=(height, width), ori_shape=(height, width))


def _takes_bgr(model: nn.Module) -> bool:
    """Whether the data preprocessor turns colours round."""
    return model.input_shape[0] == 3 and model.data_preprocessor.to_rgb


def draw_maps(
    path: str,
    image: np.ndarray,
    maps: dict[int, dict[str, torch.Tensor]],
    channels: Sequence[int] | None,
    title: str,
) -> None:
    """Write the image and a row of maps for every block and channel.

    Every map is scaled by itself, from black at its lowest value to white at
    its highest, which stand below it.

    Args:
        path (str): A new .png file, 160 x 160 pixels a map.
        image (ndarray): Uint8, (H, W) or (H, W, 3).
        maps (dict): By block, maps (C, H, W) by name.
        channels (Sequence[int] | None): Which to draw; None for their mean.
        title (str): Above the whole.
    """
    rows = [(k, channel) for k in maps for channel in (channels or [None])]
    columns = [name for name in COLUMNS if any(name in row for row in maps.values())]
    figure = new_figure(INCH * (len(columns) + 1), INCH * len(rows) + 0.6, dpi=100)
    grid = figure.subplots(len(rows), len(columns) + 1, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    grid[0, 0].imshow(image, cmap='gray', vmin=0, vmax=255)
    grid[0, 0].set_title('image', fontsize=8)
    for line, (k, channel) in zip(grid, rows, strict=True):
        for axes, name in zip(line[1:], columns, strict=True):
            if name in maps[k]:
                _draw_map(axes, maps[k][name], channel, f'block {k}, {name}')
    what = 'mean over channels' if channels is None else 'single channels'
    figure.suptitle(f'{title}, {what}', fontsize=9)
    save_png(figure, path)


def _draw_map(axes: Axes, maps: torch.Tensor, channel: int | None, name: str) -> None:
    one = maps.mean(dim=0) if channel is None else maps[channel]
    axes.imshow(one.numpy(), cmap='gray')
    label = name if channel is None else f'{name}, ch. {channel}'
    axes.set_title(f'{label}\n{one.min():.3g} to {one.max():.3g}', fontsize=7)
