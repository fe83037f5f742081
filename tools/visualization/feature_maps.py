"""Draw feature maps of an image after blocks, with and without the momentum and bias units."""

import argparse
from pathlib import Path

from map_figure import draw
from map_image import read_image
from map_panels import block_maps
from mmengine.config import Config
from torch import nn

from mman import apis
from mman.apis import inspection
from mman.models import MomentumAuxHead
from mman.utils.errors import UserError, one_line_errors


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = apis.config_parser(__doc__)
    inspection.add_model_arguments(parser)
    parser.add_argument('image', type=apis.existing_file, help='image file')
    parser.add_argument(
        '--blocks', type=int, nargs='+', metavar='K', help='numbers of blocks, from 0 [all]'
    )
    parser.add_argument(
        '--channels',
        type=int,
        nargs='+',
        metavar='C',
        help='draw these channels, from 0 [the mean over all]',
    )
    parser.add_argument(
        '--out', type=apis.new_file('.png'), required=True, help='new .png file for the picture'
    )
    return parser


def loaded(cfg: Config, args: argparse.Namespace) -> nn.Module:
    """The model with the weights of the checkpoint; momentum units must be in it."""
    model = inspection.local_model(cfg)
    momentum = any(isinstance(head, MomentumAuxHead) for head in model.aux_heads)
    missing = () if momentum else inspection.TRAINING_ONLY
    return inspection.load_weights(model, args.checkpoint, args.device, missing, args.unsafe_load)


def main() -> None:
    """Write the picture."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        cfg = apis.load_config(args.config, args.cfg_options)
        model = loaded(cfg, args)
        blocks = range(model.num_blocks) if args.blocks is None else args.blocks
        blocks = [inspection.checked_block(model, k) for k in blocks]
        image, inputs = read_image(cfg, model, args.image)
        maps = {k: row for k, row in enumerate(block_maps(model, inputs)) if k in blocks}
        check_channels(maps, args.channels)
        draw(args.out, image, maps, args.channels, Path(args.config).stem)
        print(f'Maps of {len(maps)} blocks of {args.config}: {args.out}')


def check_channels(maps: dict, channels: list[int] | None) -> None:
    """Every channel is in all maps.

    Raises:
        UserError: If one is not.
    """
    fewest = min(len(one) for row in maps.values() for one in row.values())
    for channel in channels or ():
        if not 0 <= channel < fewest:
            raise UserError(
                f'--channels {channel} does not exist: the maps have the channels 0 to {fewest - 1}'
            )


if __name__ == '__main__':
    main()
