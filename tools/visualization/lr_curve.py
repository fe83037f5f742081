"""Draw learning rate and momentum over the iterations of a config, without training."""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from lr_schedule import Plan, Schedule, read_plan, schedules
from mmengine.config import Config
from mmengine.runner import Runner
from rate_figure import draw

from mman import apis
from mman.apis import inspection
from mman.apis.config import set_loader_defaults
from mman.registry import register_all_modules
from mman.utils.errors import UserError, one_line_errors


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = apis.config_parser(__doc__)
    parser.add_argument(
        '--epoch-length',
        type=inspection.positive_int,
        metavar='N',
        help='iterations of an epoch [counted: needs the training set]',
    )
    parser.add_argument(
        '--out', type=apis.new_file('.png'), required=True, help='new .png file for the picture'
    )
    parser.add_argument('--csv', type=apis.new_file('.csv'), help='new .csv file for the numbers')
    return parser


def counted_length(cfg: Config) -> int:
    """Iterations of an epoch in one process.

    Raises:
        UserError: If the config has no ``train_dataloader``, or no data are there.
    """
    if cfg.get('train_dataloader') is None:
        raise UserError(f'config {cfg.filename!r} has no train_dataloader: give --epoch-length')
    register_all_modules()
    set_loader_defaults(cfg)
    return len(Runner.build_dataloader(cfg.train_dataloader, seed=0))


def write_csv(path: str, found: Sequence[Schedule]) -> None:
    """Write a line for every block and change; values hold from the iteration on."""
    with open(path, 'x', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(('block', 'iteration', 'lr', 'momentum'))
        for schedule in found:
            for block in schedule.blocks:
                points = zip(schedule.iterations, schedule.rates, schedule.momenta, strict=True)
                writer.writerows((block, *point) for point in points)


def summary(plan: Plan, found: Sequence[Schedule]) -> str:
    """What the schedules are, a line for each."""
    length = f'{plan.iterations} iterations'
    if plan.by_epoch:
        length += f', {plan.iterations // plan.epoch_length} epochs of {plan.epoch_length}'
    lines = [
        f'{one.name}: lr {one.rates[0]:.4g} at first, {max(one.rates):.4g} at most, '
        f'{one.rates[-1]:.4g} at last'
        for one in found
    ]
    return '\n'.join([length, *lines])


def main() -> None:
    """Write the picture, and the numbers if a place is given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        cfg = apis.load_config(args.config, args.cfg_options)
        # The model first: it costs less than the data, if something is wrong.
        model = inspection.local_model(cfg).train()
        plan = read_plan(cfg, args.epoch_length or counted_length(cfg))
        found = schedules(cfg, model, plan)
        if args.csv:
            write_csv(args.csv, found)
        draw(args.out, found, plan, Path(args.config).stem)
        print(summary(plan, found))
        if (cfg.get('auto_scale_lr') or {}).get('enable'):
            print('auto_scale_lr.enable: the Runner will scale these by the total batch')


if __name__ == '__main__':
    main()
