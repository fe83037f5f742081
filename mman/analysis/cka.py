"""Linear centred kernel alignment (CKA) of the blocks of one or two trained models.

Sources: Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, for
CKA and the biased estimator of HSIC in it; Song et al., "Feature Selection via Dependence
Maximization", JMLR 2012, for the unbiased one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from mman.utils.errors import UserError

from .inspection import block_outputs, plain_loader
from .plots import in_style, new_figure, save_png, whole_numbers
from .tables import write_csv

FEWEST = 4  # images, which the unbiased estimator needs
# Columns of features that are in double precision at a time.
COLUMNS = 4096
# More numbers than so many in a row would not fit.
MOST_NUMBERS = 16


@dataclass(frozen=True)
class CKA:
    """CKA of all pairs of blocks."""

    names: tuple[str, str]  #: The models of rows and columns, maybe the same.
    ends: tuple[list[str], list[str]]  #: The last unit of every block of both.
    kind: str  #: The estimator of HSIC, 'unbiased' or 'biased'.
    num_images: int  #: How many images were compared by.
    matrix: list[list[float]]  #: (K1, K2); NaN where features do not differ between images.


def compare_blocks(
    cfg: Config,
    models: Sequence[tuple[str, nn.Module]],
    images: int = 500,
    unbiased: bool = False,
) -> CKA:
    """Compare every block of a model with every block of another, or of itself.

    Args:
        cfg (Config): Has the validation set, whose images both models are given.
        models (Sequence[tuple[str, nn.Module]]): One or two LocalImageClassifiers
            in eval mode, and what to call them.
        images (int): Images, drawn once and for all; all if there are fewer. Defaults to 500.
        unbiased (bool): Whether HSIC is estimated without bias. Defaults to
            False, the CKA of Kornblith et al.

    Raises:
        UserError: If images are fewer than 4, or the models take images of different shapes.
    """
    shapes = [model.input_shape for _, model in models]
    if len(set(shapes)) > 1:
        raise UserError(f'the other model takes images of {shapes[1]}, not {shapes[0]}')
    loader = plain_loader(cfg, 'val_dataloader', images)
    found = len(loader.dataset)
    if found < FEWEST:
        raise UserError(f'images={images} gives {found} images; CKA needs at least {FEWEST}')
    batches = list(loader)
    grams = [_grams(model, batches, unbiased) for _, model in models]
    names, ends = zip(*((name, model.block_ends) for name, model in models), strict=True)
    kind, matrix = 'unbiased' if unbiased else 'biased', cka(grams[0], grams[-1])
    return CKA((names[0], names[-1]), (ends[0], ends[-1]), kind, found, matrix)


def _grams(model: nn.Module, batches: Sequence[dict], unbiased: bool) -> torch.Tensor:
    """Centred Gram matrices of every block's output for N images, float64 (K, N, N)."""
    inputs = [model.data_preprocessor(dict(data), False)['inputs'] for data in batches]
    # Block by block, so that the outputs of one block only are held.
    outputs = zip(*(block_outputs(model, x) for x in inputs), strict=True)
    return torch.stack([centred(gram_matrix(xs), unbiased).cpu() for xs in outputs])


def model_name(cfg: Config, checkpoint: str) -> str:
    """How to call a model in the picture."""
    where = Path(checkpoint)
    return f'{Path(cfg.filename).stem}, {where.parent.name}/{where.name}'


def gram_matrix(batches: Sequence[torch.Tensor]) -> torch.Tensor:
    """Inner products (N, N), float64, of the features of N samples, batches of (n, ...)."""
    features = torch.cat([batch.flatten(1) for batch in batches])
    # Centring changes nothing in CKA, but without it large means would cost digits.
    features = features - features.mean(dim=0)
    return sum(some.double() @ some.double().T for some in features.split(COLUMNS, dim=1))


def centred(gram: torch.Tensor, unbiased: bool = False) -> torch.Tensor:
    """A matrix whose inner product with another is their HSIC, up to a constant.

    ``gram`` is symmetric, (N, N), N from 4 on; ``unbiased`` is for Song's estimator (U-centring:
    the diagonal left out) instead of the biased one.
    """
    if not unbiased:
        rows = gram.mean(dim=0)
        return gram - rows - rows[:, None] + gram.mean()
    n = len(gram)
    gram = gram - torch.diag(gram.diagonal())
    rows = gram.sum(dim=0) / (n - 2)
    result = gram - rows - rows[:, None] + gram.sum() / ((n - 1) * (n - 2))
    return result.fill_diagonal_(0)


def cka(first: torch.Tensor, second: torch.Tensor) -> list[list[float]]:
    """CKA (K1, K2) of every pair of centred Gram matrices, (K1, N, N) and (K2, N, N).

    It is NaN where features do not differ between samples.
    """
    first, second = first.flatten(1), second.flatten(1)
    scale = first.norm(dim=1)[:, None] * second.norm(dim=1)
    return (first @ second.T / scale).tolist()


def write_cka(path: str, found: CKA) -> None:
    """Write a CSV with a line for every pair of blocks, into a new file."""
    (name, other), (ends, others) = found.names, found.ends
    rows = (
        dict(model=name, block=i, end=ends[i])
        | dict(other_model=other, other_block=j, other_end=others[j], cka=value)
        for i, row in enumerate(found.matrix)
        for j, value in enumerate(row)
    )
    write_csv(path, rows)


@in_style
def draw_cka(path: str, found: CKA) -> None:
    """Write a heat map, light where CKA is high, block 0 at the lower left.

    The picture is a new .png file of 840 x 720 pixels.
    """
    figure = new_figure(7, 6)
    axes = figure.subplots()
    image = axes.imshow(found.matrix, vmin=0, vmax=1, origin='lower')
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, label='CKA')
    whole_numbers(axes.xaxis)
    whole_numbers(axes.yaxis)
    axes.set(xlabel=f'block of {found.names[1]}', ylabel=f'block of {found.names[0]}')
    axes.set_title(f'linear CKA, {found.kind}')
    if max(map(len, found.ends)) <= MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(found.matrix):
            # White on dark cells.
            color = 'black' if value > 0.5 else 'white'
            axes.text(j, i, f'{value:.2f}', fontsize=7, color=color, ha='center', va='center')
    save_png(figure, path)
