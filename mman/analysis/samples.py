"""Training samples as the model is given them: augmented, with their classes."""

import math
import textwrap
from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmengine.runner import Runner, set_random_seed
from mmpretrain.structures import DataSample

from mman.apis.memory_budget import apply_memory_budget
from mman.apis.models import build_model

from .inspection import loader_config
from .plots import in_style, new_figure, save_png


def read_samples(cfg: Config, count: int, seed: int = 0) -> tuple[torch.Tensor, list[str]]:
    """One batch of the training set, through its pipeline and the model's data preprocessor.

    Args:
        cfg (Config): Has a model and ``train_dataloader``.
        count (int): Images, or all if they are fewer.
        seed (int): Of their choice and augmentation. Defaults to 0.

    Returns:
        tuple: Images, normalisation undone, uint8 (N, C, H, W) in the model's order of colours;
        and the names of their classes.

    Raises:
        UserError: If the config lacks either.
    """
    loader = loader_config(cfg, 'train_dataloader')
    apply_memory_budget(cfg)
    preprocessor = build_model(cfg).data_preprocessor
    loader.pop('batch_sampler', None)
    # No workers: they would be seeded anew.
    loader.update(batch_size=count, num_workers=0, persistent_workers=False, drop_last=False)
    loader = Runner.build_dataloader(loader, seed=seed)
    set_random_seed(seed)
    classes = getattr(loader.dataset, 'metainfo', {}).get('classes')
    # As in training: its mixup and CutMix are applied.
    data = preprocessor(next(iter(loader)), True)
    images = data['inputs']
    if preprocessor._enable_normalize:
        images = images * preprocessor.std + preprocessor.mean
    pixels = images.round().clamp(0, 255).to(torch.uint8)
    return pixels, [label_name(sample, classes) for sample in data['data_samples']]


def label_name(sample: DataSample, classes: Sequence[str] | None) -> str:
    """The class of a sample, or those it was mixed from, the larger share first."""
    if 'gt_score' not in sample:
        return _name(sample.gt_label.item(), classes)
    scores, labels = sample.gt_score.sort(descending=True)
    names = [_name(label, classes) for label in labels[scores > 0].tolist()]
    if len(names) == 1:
        return names[0]
    return ' + '.join(f'{name} {score:.2f}' for name, score in zip(names, scores, strict=False))


def _name(label: int, classes: Sequence[str] | None) -> str:
    return str(label if classes is None else classes[label])


@in_style
def draw_samples(path: str, images: torch.Tensor, names: Sequence[str], title: str) -> None:
    """Write the images in rows, the class of each above it.

    The picture is a new .png file of 130 x 150 pixels an image, and a title.
    """
    count = len(names)
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    figure = new_figure(1.3 * max(columns, 2), 1.5 * rows + 0.3, dpi=100)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, name in zip(grid.flat, images, names, strict=False):
        axes.imshow(image.permute(1, 2, 0).squeeze(), cmap='gray', vmin=0, vmax=255)
        axes.set_title(textwrap.shorten(name, 20, placeholder=' ...'), fontsize=7)
    figure.suptitle(title, fontsize=9)
    save_png(figure, path)
