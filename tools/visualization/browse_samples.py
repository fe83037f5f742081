"""Draw samples of the training set as the model is given them: augmented, with their classes."""

import argparse
import copy
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner, set_random_seed
from sample_figure import draw
from sample_pixels import Samples, as_samples

from mman import apis
from mman.apis import inspection
from mman.apis.config import set_loader_defaults
from mman.utils.errors import UserError, one_line_errors


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = apis.config_parser(__doc__)
    parser.add_argument(
        '--images',
        type=inspection.positive_int,
        default=36,
        metavar='N',
        help='how many to draw [%(default)s, or all if fewer]',
    )
    parser.add_argument(
        '--seed', type=apis.seed, default=0, help='of their choice and augmentation [%(default)s]'
    )
    parser.add_argument(
        '--out', type=apis.new_file('.png'), required=True, help='new .png file for the picture'
    )
    return parser


def read_samples(cfg: Config, count: int, seed: int) -> Samples:
    """One batch of the training set, through its pipeline and the model's data preprocessor.

    Args:
        cfg (Config): Has a model and ``train_dataloader``.
        count (int): Images, or all if they are fewer.
        seed (int): Of their choice and augmentation.

    Raises:
        UserError: If the config lacks either.
    """
    if cfg.get('train_dataloader') is None:
        raise UserError(f'config {cfg.filename!r} has no train_dataloader')
    preprocessor = inspection.built_model(cfg).data_preprocessor
    set_loader_defaults(cfg)
    loader = copy.deepcopy(dict(cfg.train_dataloader))
    loader.pop('batch_sampler', None)
    # No workers: they would be seeded anew.
    loader.update(batch_size=count, num_workers=0, persistent_workers=False, drop_last=False)
    loader = Runner.build_dataloader(loader, seed=seed)
    set_random_seed(seed)
    return as_samples(
        preprocessor, next(iter(loader)), getattr(loader.dataset, 'metainfo', {}).get('classes')
    )


def main() -> None:
    """Write the picture."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        cfg = apis.load_config(args.config, args.cfg_options)
        samples = read_samples(cfg, args.images, args.seed)
        draw(args.out, samples, f'{Path(args.config).stem}, seed {args.seed}')
        print(f'{len(samples.names)} training images of {args.config}: {args.out}')


if __name__ == '__main__':
    main()
