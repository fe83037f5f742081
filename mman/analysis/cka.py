"""Linear centred kernel alignment (CKA) of the blocks of one or two trained models.

Sources: Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, for
CKA and the biased estimator of HSIC in it; Song et al., "Feature Selection via Dependence
Maximization", JMLR 2012, for the unbiased one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn

from mman.apis.inspection import outputs_by_block, plain_loader
from mman.utils.errors import UserError

from .plots import new_figure, save_png, whole_numbers
from .tables import write_csv

FEWEST = 4  # images, which the unbiased estimator needs
# Columns of features that are in double precision at a time.
COLUMNS = 4096
# More numbers than so many in a row would not fit.
MOST_NUMBERS = 16


@dataclass(frozen=True)
class Side:
    """One of two models.

    Args:
        name (str): What to call it.
        ends (tuple[str, ...]): Last unit of every block.
        grams (Tensor): Centred Gram matrices, float64 (K, N, N).
    """

    name: str
    ends: tuple[str, ...]
    grams: torch.Tensor


@dataclass(frozen=True)
class CKA:
    """CKA of all pairs of blocks.

    Args:
        rows (Side): The model of the rows.
        columns (Side): The model of the columns, maybe the same.
        unbiased (bool): Which estimator of HSIC.
        matrix (list[list[float]]): (K1, K2); NaN where features do not differ
            between images.
    """

    rows: Side
    columns: Side
    unbiased: bool
    matrix: list[list[float]]

    @property
    def kind(self) -> str:
        """'unbiased' or 'biased'."""
        return 'unbiased' if self.unbiased else 'biased'

    @property
    def num_images(self) -> int:
        """How many images were compared by."""
        return self.rows.grams.shape[-1]


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
        images (int): Images, drawn once and for all; all if there are fewer.
            Defaults to 500.
        unbiased (bool): Whether HSIC is estimated without bias. Defaults to
            False, the CKA of Kornblith et al.

    Raises:
        UserError: If images are fewer than 4, or the models take images of
            different shapes.
    """
    shapes = [model.input_shape for _, model in models]
    if len(set(shapes)) > 1:
        raise UserError(f'the other model takes images of {shapes[1]}, not {shapes[0]}')
    loader = plain_loader(cfg, 'val_dataloader', images)
    found = len(loader.dataset)
    if found < FEWEST:
        raise UserError(f'images={images} gives {found} images; CKA needs at least {FEWEST}')
    batches = list(loader)
    sides = [_side(name, model, batches, unbiased) for name, model in models]
    return CKA(sides[0], sides[-1], unbiased, cka(sides[0].grams, sides[-1].grams))


def model_name(cfg: Config, checkpoint: str) -> str:
    """How to call a model in the picture."""
    where = Path(checkpoint)
    return f'{Path(cfg.filename).stem}, {where.parent.name}/{where.name}'


def _side(name: str, model: nn.Module, batches: Sequence[dict], unbiased: bool) -> Side:
    """The centred Gram matrix of every block's output for the same images."""
    inputs = [model.data_preprocessor(dict(data), False)['inputs'] for data in batches]
    grams = [centred(gram_matrix(xs), unbiased).cpu() for xs in outputs_by_block(model, inputs)]
    return Side(name, tuple(model.block_ends), torch.stack(grams))


def gram_matrix(batches: Sequence[torch.Tensor]) -> torch.Tensor:
    """Inner products of flattened features, float64 (N, N).

    Args:
        batches (Sequence[Tensor]): Features of N samples together, (n, ...).
    """
    features = torch.cat([batch.flatten(1) for batch in batches])
    # Centring changes nothing in CKA, but without it large means would cost digits.
    features = features - features.mean(dim=0)
    return sum(some.double() @ some.double().T for some in features.split(COLUMNS, dim=1))


def centred(gram: torch.Tensor, unbiased: bool = False) -> torch.Tensor:
    """A matrix whose inner product with another is their HSIC, up to a constant.

    Args:
        gram (Tensor): Symmetric, (N, N), N from 4 on.
        unbiased (bool): For Song's estimator (U-centring: the diagonal left
            out) instead of the biased one. Defaults to False.
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
    """CKA of every pair, (K1, K2); NaN where features do not differ between samples.

    Args:
        first (Tensor): Centred Gram matrices, (K1, N, N).
        second (Tensor): Likewise, (K2, N, N).
    """
    first, second = first.flatten(1), second.flatten(1)
    scale = first.norm(dim=1)[:, None] * second.norm(dim=1)
    return (first @ second.T / scale).tolist()


def write_cka(path: str, found: CKA) -> None:
    """Write a CSV with a line for every pair of blocks, into a new file."""
    first, second = found.rows, found.columns
    names = ('model', 'block', 'end', 'other_model', 'other_block', 'other_end', 'cka')
    lines = [
        (first.name, i, first.ends[i], second.name, j, second.ends[j], value)
        for i, row in enumerate(found.matrix)
        for j, value in enumerate(row)
    ]
    write_csv(path, names, (dict(zip(names, line, strict=True)) for line in lines))


def draw_cka(path: str, found: CKA) -> None:
    """Write a heat map in grey, dark where CKA is high, block 0 at the lower left.

    Args:
        path (str): A new .png file, 840 x 720 pixels.
        found (CKA): The values.
    """
    matrix = found.matrix
    figure = new_figure(7, 6)
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap='gray_r', vmin=0, vmax=1, origin='lower')
    figure.colorbar(image, ax=axes, label='CKA')
    whole_numbers(axes.xaxis)
    whole_numbers(axes.yaxis)
    axes.set_ylabel(f'block of {found.rows.name}')
    axes.set_xlabel(f'block of {found.columns.name}')
    axes.set_title(f'linear CKA, {found.kind}')
    if max(len(matrix), len(matrix[0])) <= MOST_NUMBERS:
        for i, row in enumerate(matrix):
            for j, value in enumerate(row):
                # White on dark cells.
                style = dict(color='white' if value > 0.5 else 'black', ha='center', va='center')
                axes.text(j, i, f'{value:.2f}', fontsize=7, **style)
    save_png(figure, path)
