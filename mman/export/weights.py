"""The weights of a classifier for other libraries."""

import json

from mmengine.config import Config
from torch import nn

from mman.apis import get_model
from mman.utils import UserError
from mman.utils.new_file import check_new_file, write_new

from .exported import Exported, torch_bytes
from .plain_classifier import PlainClassifier, check_equal, sample_images
from .to_library import converted, find_target, plain_weights

FORMATS = ('mmpretrain', 'torchvision', 'timm', 'safetensors')


def export_weights(
    config: str | Config,
    checkpoint: str,
    out: str,
    format: str,
    images: str | None = None,
) -> Exported:
    """Write the weights of a classifier for mmpretrain, torchvision, timm or as safetensors.

    Those for torchvision and timm are tried out in the network of that library.

    Args:
        config (str | Config): As :func:`mman.apis.get_model` takes it.
        checkpoint (str): A local file, of training or published.
        out (str): The new file, .safetensors for that format and .pth for others.
        format (str): 'mmpretrain', 'torchvision' or 'timm', whose names the
            weights get; 'safetensors' has mmpretrain's.
        images (str | None): A folder of images to compare scores on, for
            torchvision and timm. Defaults to None, random pixels.

    Raises:
        UserError: If the config, the checkpoint or another argument is refused,
            the library does not have this network, or its scores differ by
            more than 1e-4 of the largest. Nothing is written then.
    """
    if format not in FORMATS:
        raise UserError(f'format={format!r} should be one of {", ".join(FORMATS)}')
    check_new_file(out, '.safetensors' if format == 'safetensors' else '.pth')
    model = get_model(config, checkpoint)
    if format in ('torchvision', 'timm'):
        return _export_to_library(model, format, out, images)
    weights, classes = plain_weights(model), list(model._dataset_meta.get('classes') or [])
    if format == 'safetensors':
        content = _safetensors(weights, classes, model.data_preprocessor)
    else:
        meta = dict(dataset_meta=dict(classes=classes))
        content = torch_bytes(dict(meta=meta, state_dict=weights))
    write_new(out, content)
    return Exported(out)


def _export_to_library(model: nn.Module, library: str, out: str, images: str | None) -> Exported:
    """Write the weights by the library's names if its own network gives the same scores."""
    target = find_target(model, library)
    weights, network = converted(model, target)
    inputs = sample_images(model, images, pixels=False)
    difference = check_equal(network, PlainClassifier(model).eval(), inputs)
    write_new(out, torch_bytes(weights))
    return Exported(out, dict(network=target.call), difference, len(inputs))


def _safetensors(weights: dict, classes: list[str], preprocessor: nn.Module) -> bytes:
    """The content of a file that holds strings, here of JSON, beside the weights."""
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise UserError(f"format='safetensors' needs that package: {error}") from error
    facts: dict = dict(classes=classes)
    if preprocessor._enable_normalize:
        facts['mean'] = preprocessor.mean.flatten().tolist()
        facts['std'] = preprocessor.std.flatten().tolist()
    return save(weights, {'format': 'pt', **{key: json.dumps(v) for key, v in facts.items()}})
