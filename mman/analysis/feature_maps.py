"""The feature maps of one image after every block, with and without momentum and bias units."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.ticker import MaxNLocator
from mmcv.transforms import Compose
from mmengine.config import Config
from torch import nn

from mman.models import MomentumAuxHead
from mman.registry import TRANSFORMS
from mman.utils.errors import UserError

from .inspection import block_outputs, loader_config, pipeline_owner
from .plots import COLOUR_MAP, in_style, new_figure, save_png

#: Names of maps, in the order of the picture's columns.
OUTPUT, MOMENTUM, BIAS, MIXED = 'block output x', 'momentum(x)', 'bias(x)', 'mixed'


@torch.no_grad()
def block_maps(
    model: nn.Module,
    inputs: torch.Tensor,
    blocks: Sequence[int] | None = None,
    channels: Sequence[int] | None = None,
) -> dict[int, dict[str, torch.Tensor]]:
    """What comes out of blocks, and what their momentum and bias units make of it.

    All are in eval mode, the momentum unit too: one image has no batch
    statistics worth the name, and the unit keeps running ones of its own.

    Args:
        model (nn.Module): A LocalImageClassifier in eval mode.
        inputs (Tensor): One normalised image, (1, C, H, W).
        blocks (Sequence[int] | None): Numbers of blocks. Defaults to None, all.
        channels (Sequence[int] | None): Channels that all maps must have. Defaults to None, any.

    Returns:
        dict: By block, maps (C, H, W) by name: :data:`OUTPUT`, and of a block
        with a MomentumAuxHead also :data:`MOMENTUM`, :data:`BIAS` and
        :data:`MIXED`, which is what the host head sees.

    Raises:
        UserError: If there is no such block or channel.
    """
    _require_below(model.num_blocks, 'block', blocks, 'the model has')
    maps = {}
    heads = [*model.aux_heads, None]
    for k, (x, head) in enumerate(zip(block_outputs(model, inputs), heads, strict=True)):
        if blocks is not None and k not in blocks:
            continue
        found = {OUTPUT: x if head is None else head.as_map(x)}
        if isinstance(head, MomentumAuxHead):
            units = {MOMENTUM: head.momentum_unit.eval(), BIAS: head.bias_unit, MIXED: head.mixed}
            # Units may make the map smaller; the host's context tells tokens their grid.
            found |= {name: head.host.as_map(unit(x)) for name, unit in units.items()}
        # A vector that the last block gives is a map of one pixel.
        maps[k] = {
            name: value.reshape(*value.shape[1:], *[1] * (4 - value.ndim)).float().cpu()
            for name, value in found.items()
        }
    fewest = min(len(one) for row in maps.values() for one in row.values())
    _require_below(fewest, 'channel', channels, 'the maps have')
    return maps


def _require_below(count: int, what: str, numbers: Sequence[int] | None, who: str) -> None:
    for number in numbers or ():
        if not 0 <= number < count:
            raise UserError(f'{what} {number} does not exist: {who} the {what}s 0 to {count - 1}')


def read_image(cfg: Config, model: nn.Module, path: str) -> tuple[np.ndarray, torch.Tensor]:
    """Read an image as the validation set's are, for the LocalImageClassifier of a config.

    The pipeline of ``val_dataloader`` is applied to it; where that does not load files, the image
    is read in the model's order of colours and resized to ``model.input_shape``.

    Returns:
        tuple: The image that the model sees, uint8 (H, W) or (H, W, 3), in its
        order of colours; and the normalised input, (1, C, H, W).

    Raises:
        UserError: If the file is no image, or the pipeline gives another shape.
    """
    owner = pipeline_owner(loader_config(cfg, 'val_dataloader')['dataset'])
    # A data set held in memory has no pipeline, and gives what PackInputs does.
    pipeline = [dict(type='PackInputs')] if owner is None else list(owner['pipeline'])
    loads = any('LoadImage' in str(step.get('type')) for step in pipeline)
    channels, height, width = model.input_shape
    if not loads:
        color = 'grayscale' if channels == 1 else 'color'
        load = dict(type='LoadImageFromFile', color_type=color)
        pipeline = [load, dict(type='Resize', scale=(width, height)), *pipeline]
    steps = Compose([TRANSFORMS.build(step) for step in pipeline])
    # Decoders raise errors of any type on damaged bytes, so all are caught.
    try:
        inputs = steps(dict(img_path=path))['inputs']
    except Exception as error:
        raise UserError(
            f'image {path!r} cannot be read: it should be a PNG, JPEG or the like ({error})'
        ) from error
    if tuple(inputs.shape) != model.input_shape:
        raise UserError(
            f'the pipeline of val_dataloader makes {tuple(inputs.shape)} of image {path!r}, but '
            f'model.input_shape is {model.input_shape}'
        )
    takes_bgr = channels == 3 and model.data_preprocessor.to_rgb
    # What was loaded here is BGR as well.
    inputs = inputs if loads or takes_bgr else inputs.flip(0)
    shown = (inputs.flip(0) if takes_bgr else inputs).permute(1, 2, 0).numpy().squeeze()
    return shown, model.data_preprocessor(dict(inputs=inputs[None]), False)['inputs']


@in_style
def draw_maps(
    path: str,
    image: np.ndarray,
    maps: dict[int, dict[str, torch.Tensor]],
    channels: Sequence[int] | None,
    title: str,
) -> None:
    """Write the image and a row of maps for every block and channel.

    Every map is scaled by itself, from dark at its lowest value to light at its highest, and has a
    colour bar. Of channels None draws the mean. The image is uint8, (H, W) or (H, W, 3), the maps
    are those of :func:`block_maps`, and the picture is a new .png file, 190 x 160 pixels a map.
    """
    rows = [(k, channel) for k in maps for channel in (channels or [None])]
    columns = list(dict.fromkeys(name for row in maps.values() for name in row))
    figure = new_figure(1.9 * (len(columns) + 1), 1.6 * len(rows) + 0.6, dpi=100)
    grid = figure.subplots(len(rows), len(columns) + 1, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    grid[0, 0].imshow(image, cmap='gray', vmin=0, vmax=255)
    grid[0, 0].set_title('image', fontsize=8)
    for line, (k, channel) in zip(grid, rows, strict=True):
        for axes, (name, found) in zip(line[1:], maps[k].items(), strict=False):
            one = found.mean(dim=0) if channel is None else found[channel]
            picture = axes.imshow(one.numpy(), cmap=COLOUR_MAP)
            bar = figure.colorbar(picture, ax=axes, shrink=0.85, aspect=12)
            bar.ax.tick_params(labelsize=6)
            bar.locator = MaxNLocator(3)
            label = f'block {k}, {name}' + ('' if channel is None else f', ch. {channel}')
            axes.set_title(label, fontsize=7)
    what = 'mean over channels' if channels is None else 'single channels'
    figure.suptitle(f'{title}, {what}', fontsize=9)
    save_png(figure, path)
