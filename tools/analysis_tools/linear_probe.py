"""Measure how well a linear classifier reads the classes from the output of every block."""

import argparse
import csv
from pathlib import Path

import torch
from mmengine.config import Config
from probe_figure import draw
from probe_fit import Probe, fit_probe
from torch import nn
from torch.utils.data import DataLoader

from mman import apis
from mman.apis import inspection
from mman.utils.errors import UserError, one_line_errors

TRAIN_IMAGES = 10_000


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this tool."""
    parser = apis.config_parser(__doc__)
    inspection.add_model_arguments(parser)
    parser.add_argument(
        '--images',
        type=inspection.positive_int,
        default=TRAIN_IMAGES,
        metavar='N',
        help='train on so many images, drawn once and for all [%(default)s, or all if fewer]',
    )
    parser.add_argument('--out', type=apis.new_file('.png'), help='new .png file for a picture')
    parser.add_argument('--csv', type=apis.new_file('.csv'), help='new .csv file for the numbers')
    return parser


@torch.no_grad()
def collect(
    model: nn.Module, loader: DataLoader
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Run a data set through the model.

    Returns:
        tuple: Pooled features of every block, K times (N, C); labels (N, );
        and whether the network's own head finds them, bool (N, ). On the CPU.
    """
    features = [[] for _ in range(model.num_blocks)]
    labels, right = [], []
    for data in loader:
        data = model.data_preprocessor(data, False)
        for k, x in enumerate(inspection.block_outputs(model, data['inputs'])):
            features[k].append(inspection.pooled(x, model.block_units[k][-1]).float().cpu())
        labels.append(torch.cat([sample.gt_label for sample in data['data_samples']]).cpu())
        logits = model.head(model.neck((x,)) if model.with_neck else (x,))
        right.append(logits.argmax(dim=1).cpu() == labels[-1])
    return [torch.cat(parts) for parts in features], torch.cat(labels), torch.cat(right)


def probe_blocks(cfg: Config, model: nn.Module, images: int) -> tuple[list[Probe], float, int]:
    """Train a classifier on every block's features.

    Args:
        cfg (Config): Has the training and the validation set.
        model (nn.Module): A LocalImageClassifier.
        images (int): Most images to train on.

    Returns:
        tuple: The probes, the accuracy of the network itself in per cent, and
        how many images they were trained on.

    Raises:
        UserError: If the training images are all of one class.
    """
    loaders = [
        inspection.plain_loader(cfg, 'train_dataloader', images),
        inspection.plain_loader(cfg, 'val_dataloader'),
    ]
    (train, labels, _), (test, truth, right) = (collect(model, loader) for loader in loaders)
    if len(labels.unique()) < 2:
        raise UserError(
            f'--images {images} gives training images of one class only; it should be larger'
        )
    pairs = zip(train, test, strict=True)
    probes = [fit_probe(one, labels, other, truth) for one, other in pairs]
    return probes, 100 * right.float().mean().item(), len(labels)


def table(ends: list[str], probes: list[Probe]) -> str:
    """Accuracies in per cent, a Markdown line for every block."""
    lines = ['| block | last unit | features | train | val |', '|---:|---:|---:|---:|---:|']
    for k, (end, probe) in enumerate(zip(ends, probes, strict=True)):
        lines.append(
            f'| {k} | {end} | {probe.features} | {probe.train:.2f} | {probe.val:.2f} |'
            + ('' if probe.converged else ' (stopped before it had converged)')
        )
    return '\n'.join(lines)


def write_csv(path: str, ends: list[str], probes: list[Probe]) -> None:
    """A line for every block; accuracies in per cent."""
    with open(path, 'x', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(('block', 'end', 'features', 'train', 'val', 'converged'))
        for k, (end, probe) in enumerate(zip(ends, probes, strict=True)):
            writer.writerow((k, end, probe.features, probe.train, probe.val, probe.converged))


def main() -> None:
    """Print the table, and write the picture and the numbers if places are given."""
    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        cfg = apis.load_config(args.config, args.cfg_options)
        model = inspection.local_model(cfg)
        inspection.load_weights(model, args.checkpoint, args.device, unsafe=args.unsafe_load)
        probes, accuracy, count = probe_blocks(cfg, model, args.images)
        print(f'Accuracy [%] of linear probes trained on {count} images:\n')
        print(f'{table(model.block_ends, probes)}\n\nThe network itself: {accuracy:.2f} (val)')
        if args.csv:
            write_csv(args.csv, model.block_ends, probes)
        if args.out:
            draw(args.out, probes, accuracy, Path(args.config).stem)


if __name__ == '__main__':
    main()
