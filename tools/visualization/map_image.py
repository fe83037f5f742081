"""An image file as the input of a model."""

import mmcv
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from torch import nn

from mman.apis.inspection import pipeline_of
from mman.registry import TRANSFORMS
from mman.utils.errors import UserError


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
