"""Compare the blocks of one or two trained models by linear CKA."""

import argparse
from pathlib import Path

import torch
from cka_figure import draw, write_csv
from cka_matrix import Side, centred, cka, gram_matrix
from mmengine.config import Config
from torch import nn

from mman import apis
from mman.apis import inspection
from mman.utils.errors import UserError, one_line_errors

IMAGES, FEWEST = 500, 4


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = apis.config_parser(__doc__)
    inspection.add_model_arguments(parser)
    parser.add_argument(
        '--other',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='compare with this model, given the same images [with itself]',
    )
    parser.add_argument(
        '--images',
        type=inspection.positive_int,
        default=IMAGES,
        metavar='N',
        help='validation images, drawn once and for all [%(default)s, or all if fewer]',
    )
    parser.add_argument(
        '--unbiased',
        action='store_true',
        help='estimate HSIC without bias; the default is the biased CKA of Kornblith et al.',
    )
    parser.add_argument(
        '--out', type=apis.new_file('.png'), required=True, help='new .png file for a picture'
    )
    parser.add_argument('--csv', type=apis.new_file('.csv'), help='new .csv file for the matrix')
    return parser


def loaded(cfg: Config, checkpoint: str, args: argparse.Namespace) -> nn.Module:
    """The model of a config with the weights of a checkpoint."""
    model = inspection.local_model(cfg)
    return inspection.load_weights(model, checkpoint, args.device, unsafe=args.unsafe_load)


def read_images(cfg: Config, count: int) -> list[dict]:
    """Batches of validation images, as a data loader gives them.

    Raises:
        UserError: If they are too few.
    """
    loader = inspection.plain_loader(cfg, 'val_dataloader', count)
    found = len(loader.dataset)
    if found < FEWEST:
        raise UserError(f'--images {count} gives {found} images; CKA needs at least {FEWEST}')
    return list(loader)


def compared(model: nn.Module, batches: list[dict], name: str, unbiased: bool) -> Side:
    """The centred Gram matrix of every block's output for the same images."""
    inputs = [model.data_preprocessor(dict(data), False)['inputs'] for data in batches]
    grams = [
        centred(gram_matrix(features), unbiased).cpu()
        for features in inspection.outputs_by_block(model, inputs)
    ]
    return Side(name, tuple(model.block_ends), torch.stack(grams))


def check_images(models: list[nn.Module]) -> None:
    """Both models take images of one shape.

    Raises:
        UserError: If they do not, so that they cannot be given the same.
    """
    shapes = [model.input_shape for model in models]
    if len(set(shapes)) > 1:
        raise UserError(f'--other takes images of {shapes[1]}, not {shapes[0]}: no common images')


def main() -> None:
    """Write the picture, and the numbers if a place is given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        cfg = apis.load_config(args.config, args.cfg_options)
        models, names = [loaded(cfg, args.checkpoint, args)], [_name(args.config, args.checkpoint)]
        if args.other:
            models.append(loaded(apis.load_config(args.other[0]), args.other[1], args))
            names.append(_name(*args.other))
        check_images(models)
        batches = read_images(cfg, args.images)
        sides = [
            compared(model, batches, name, args.unbiased)
            for model, name in zip(models, names, strict=True)
        ]
        matrix = cka(sides[0].grams, sides[-1].grams)
        if args.csv:
            write_csv(args.csv, matrix, sides[0], sides[-1])
        kind = 'unbiased' if args.unbiased else 'biased'
        draw(args.out, matrix, sides[0], sides[-1], f'linear CKA, {kind}')
        count = sides[0].grams.shape[-1]
        print(f'Linear CKA ({kind}) of {count} images, {len(matrix)} x {len(matrix[0])} blocks')


def _name(config: str, checkpoint: str) -> str:
    """How to call a model in the picture."""
    return f'{Path(config).stem}, {Path(checkpoint).parent.name}/{Path(checkpoint).name}'


if __name__ == '__main__':
    main()
