"""How well a linear classifier reads the classes from the output of every block."""

import warnings
from dataclasses import dataclass

import torch
from mmengine.config import Config
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader

from mman.models.aux_heads.layouts import Pooled
from mman.models.splitters import Unit
from mman.utils.errors import UserError

from .inspection import block_outputs, plain_loader
from .plots import BLACK, BLUE, VERMILION, in_style, new_figure, save_png, whole_numbers
from .tables import markdown_table, write_csv


@dataclass(frozen=True)
class Probe:
    """What a linear classifier made of the features of a block; accuracies in per cent."""

    features: int  #: Length of a feature vector.
    train: float  #: Accuracy on the images it was trained on.
    val: float  #: Accuracy on the others.
    converged: bool  #: Whether its training did.


@dataclass(frozen=True)
class Probes:
    """The probes of all blocks."""

    blocks: list[Probe]  #: One for every block.
    ends: list[str]  #: The last unit of every block.
    network: float  #: Accuracy of the network itself on the validation set, in per cent.
    num_images: int  #: How many images the probes were trained on.


def probe_blocks(cfg: Config, model: nn.Module, images: int = 10_000) -> Probes:
    """Train a classifier on every block's features of a LocalImageClassifier in eval mode.

    It is trained on so many images of the training set at most, drawn once and for all.

    Raises:
        UserError: If the training images are all of one class.
    """
    train, labels, _ = collect(model, plain_loader(cfg, 'train_dataloader', images))
    test, truth, right = collect(model, plain_loader(cfg, 'val_dataloader'))
    if len(labels.unique()) < 2:
        raise UserError(
            f'images={images} gives training images of one class only; it should be larger'
        )
    pairs = zip(train, test, strict=True)
    probes = [fit_probe(one, labels, other, truth) for one, other in pairs]
    return Probes(probes, model.block_ends, 100 * right.float().mean().item(), len(labels))


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
        for k, x in enumerate(block_outputs(model, data['inputs'])):
            features[k].append(pooled(x, model.block_units[k][-1]).float().cpu())
        labels.append(torch.cat([sample.gt_label for sample in data['data_samples']]).cpu())
        logits = model.head(model.neck((x,)) if model.with_neck else (x,))
        right.append(logits.argmax(dim=1).cpu() == labels[-1])
    return [torch.cat(batches) for batches in features], torch.cat(labels), torch.cat(right)


def pooled(features: torch.Tensor, unit: Unit) -> torch.Tensor:
    """(N, C) of a block's output, whose last unit is ``unit``.

    The mean of a map; of tokens the class token, or their mean without one.
    """
    return features if features.ndim == 2 else Pooled(unit.num_extra_tokens)(features)


def fit_probe(
    train: torch.Tensor, labels: torch.Tensor, val: torch.Tensor, val_labels: torch.Tensor
) -> Probe:
    """Fit scikit-learn's logistic regression, L2 with C = 1, to standardised features.

    Mean and deviation are those of the training features (N, C), with labels (N, ); it is
    tested on the others, (M, C) and (M, ).
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        model.fit(train.numpy(), labels.numpy())
    return Probe(
        features=train.shape[1],
        train=100 * model.score(train.numpy(), labels.numpy()),
        val=100 * model.score(val.numpy(), val_labels.numpy()),
        converged=not any(issubclass(item.category, ConvergenceWarning) for item in caught),
    )


def probe_text(found: Probes) -> str:
    """Accuracies in per cent as a Markdown table, and that of the network."""
    rows = [
        {
            'block': str(k),
            'last unit': end,
            'features': str(one.features),
            'train': f'{one.train:.2f}',
            'val': f'{one.val:.2f}'
            + ('' if one.converged else ' (stopped before it had converged)'),
        }
        for k, (end, one) in enumerate(zip(found.ends, found.blocks, strict=True))
    ]
    title = f'Accuracy [%] of linear probes trained on {found.num_images} images:'
    table = markdown_table(rows, left=())
    return f'{title}\n\n{table}\n\nThe network itself: {found.network:.2f} (val)'


def write_probes(path: str, found: Probes) -> None:
    """Write a CSV with a line for every block, accuracies in per cent, into a new file."""
    pairs = enumerate(zip(found.ends, found.blocks, strict=True))
    write_csv(path, (dict(block=k, end=end, **vars(one)) for k, (end, one) in pairs))


@in_style
def draw_probes(path: str, found: Probes, title: str) -> None:
    """Write accuracy over blocks, and that of the network as a line across.

    The picture is a new .png file of 840 x 540 pixels.
    """
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    axes.plot([p.val for p in found.blocks], 'o-', color=BLUE, label='linear probe, val')
    axes.plot([p.train for p in found.blocks], 's:', color=VERMILION, label='linear probe, train')
    axes.axhline(found.network, color=BLACK, linestyle='--', label='the network itself, val')
    whole_numbers(axes.xaxis)
    axes.set(xlabel='block', ylabel='accuracy [%]', title=title)
    figure.legend(loc='outside lower center', ncols=3)
    save_png(figure, path)
