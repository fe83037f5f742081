"""Write the weights of a classifier for mmpretrain, torchvision, timm or as safetensors."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from new_files import check_place, torch_bytes, write_new
from plain_classifier import PlainClassifier, check_equal, sample_images
from plain_names import converted, find_target
from torch import nn

from mman import apis
from mman.utils.errors import UserError, one_line_errors

FORMATS = ('mmpretrain', 'torchvision', 'timm', 'safetensors')
LIBRARIES = ('torchvision', 'timm')


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = apis.config_parser(__doc__)
    parser.add_argument('checkpoint', type=apis.existing_file, help='of training, or published')
    parser.add_argument('out', help='new file, .safetensors for that format and .pth for others')
    parser.add_argument(
        '--format',
        choices=FORMATS,
        required=True,
        help="whose names the weights get; safetensors has mmpretrain's",
    )
    parser.add_argument(
        '--images', metavar='FOLDER', help='images to compare the export on [random pixels]'
    )
    return parser


def plain_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of a classifier without its aux heads, by mmpretrain's names."""
    return {
        name: value.contiguous().clone()
        for name, value in model.state_dict().items()
        if not name.startswith('aux_heads.')
    }


def library_weights(model: nn.Module, library: str, images: str | None) -> dict:
    """The weights by the names of torchvision or timm, tried out in its own network.

    Raises:
        UserError: If the network is not there, or gives other scores.
    """
    target = find_target(model, library)
    weights, network = converted(model, target)
    inputs = sample_images(model, images, pixels=False)
    off = check_equal(network, PlainClassifier(model).eval(), inputs)
    print(f'network:    {target.call}\ndifference: {off:.1e} of the largest score')
    return weights


def metadata(model: nn.Module) -> dict[str, str]:
    """What safetensors holds beside the weights: strings, here of JSON."""
    preprocessor = model.data_preprocessor
    facts: dict = dict(classes=list(model._dataset_meta.get('classes') or []))
    if preprocessor._enable_normalize:
        facts['mean'] = preprocessor.mean.flatten().tolist()
        facts['std'] = preprocessor.std.flatten().tolist()
    return {'format': 'pt', **{key: json.dumps(value) for key, value in facts.items()}}


def safetensors_bytes(weights: Mapping[str, torch.Tensor], facts: dict[str, str]) -> bytes:
    """A file of safetensors.

    Raises:
        UserError: If the package is missing.
    """
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise UserError(f'--format safetensors needs that package: {error}') from error
    return save(dict(weights), metadata=facts)


def main() -> None:
    """Convert, compare, and write."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        suffix = '.safetensors' if args.format == 'safetensors' else '.pth'
        if Path(args.out).suffix != suffix:
            raise UserError(f'out {args.out!r} should end with {suffix}')
        check_place(args.out)
        cfg = apis.load_config(apis.config_path(args.config), args.cfg_options)
        model = apis.get_model(cfg, args.checkpoint)
        if args.format in LIBRARIES:
            content = torch_bytes(library_weights(model, args.format, args.images))
        elif args.format == 'safetensors':
            content = safetensors_bytes(plain_weights(model), metadata(model))
        else:
            classes = list(model._dataset_meta.get('classes') or [])
            meta = dict(dataset_meta=dict(classes=classes))
            content = torch_bytes(dict(meta=meta, state_dict=plain_weights(model)))
        write_new(args.out, content)
        print(f'written:    {args.out}')


if __name__ == '__main__':
    main()
