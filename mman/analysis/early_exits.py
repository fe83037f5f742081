"""What every early exit of a classifier takes, and how often it is right."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.utils import track_iter_progress
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader

from mman.models.classifiers import check_exits, exit_blocks, exit_logits
from mman.utils.errors import UserError
from mman.utils.flop_count import FlopCount

from .inspection import loader_config
from .plots import BLUE, VERMILION, in_style, new_figure, save_png, whole_numbers
from .tables import markdown_table, write_csv


@dataclass(frozen=True)
class ExitResult:
    """One exit."""

    block: int  #: From 0.
    units: str  #: The last unit that is run.
    classifier: str  #: What predicts there.
    accuracy: float  #: Top-1 in percent on the test set.
    parameters: int  #: Of all that is run, the classifier included.
    multiply_adds: int  #: Of one image, a multiplication with its addition counting once.
    image_shape: str  #: Of the test images, which both are of, such as '3 x 8 x 8'.


class _UsedStorages(TorchDispatchMode):
    """What operations are given: an aux head may hold networks that its prediction leaves out."""

    def __init__(self):
        super().__init__()
        self.found: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        leaves = tree_leaves((args, kwargs))
        self.found |= {_storage(leaf) for leaf in leaves if isinstance(leaf, torch.Tensor)}
        return func(*args, **(kwargs or {}))


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def measure_exits(cfg: Config, model: nn.Module) -> list[ExitResult]:
    """Measure all exits of a LocalImageClassifier in eval mode on the test set of a config.

    Raises:
        UserError: If there is no test set, or the model has no exits.
    """
    check_exits(model, [])
    loader = loader_config(cfg, 'test_dataloader', ', which tells accuracies')
    accuracies, shape = exit_accuracies(model, Runner.build_dataloader(loader))
    results = []
    for block, accuracy in accuracies.items():
        head = [*model.aux_heads, model.head][block]
        kind = type(getattr(head, 'host', head)).__name__
        facts = (block, model.block_ends[block], kind, accuracy)
        costs = exit_costs(model, block, shape)
        results.append(ExitResult(*facts, *costs, ' x '.join(map(str, shape))))
    return results


@torch.no_grad()
def exit_accuracies(
    model: nn.Module, batches: DataLoader
) -> tuple[dict[int, float], tuple[int, int, int]]:
    """Top-1 in percent of every exit, from one pass over the batches; and their images' (C, H, W).

    Raises:
        UserError: If images of several shapes are tested, which have no one cost.
    """
    blocks, scores, labels, shapes = exit_blocks(model), {}, [], set()
    for batch in track_iter_progress((batches, len(batches)), file=sys.stderr):
        data = model.data_preprocessor(batch, False)
        labels += [sample.gt_label.cpu() for sample in data['data_samples']]
        shapes.add(tuple(data['inputs'].shape[1:]))
        for block, logits in exit_logits(model, data['inputs'], blocks):
            scores.setdefault(block, []).append(logits.cpu())
    if len(shapes) > 1:
        raise UserError(f'test_dataloader gives images of several shapes, {sorted(shapes)}')
    target = torch.cat(labels)
    accuracies = {
        block: 100 * (torch.cat(found).argmax(dim=1) == target).double().mean().item()
        for block, found in scores.items()
    }
    return accuracies, shapes.pop()


@torch.no_grad()
def exit_costs(model: nn.Module, block: int, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Parameters, and multiply-adds of one image (C, H, W), up to an exit."""
    image = next(model.parameters()).new_zeros(1, *image_shape)
    with _UsedStorages() as used, FlopCount() as flops:
        list(exit_logits(model, image, [block]))
    parameters = (p for p in model.parameters() if _storage(p) in used.found)
    return sum(p.numel() for p in parameters), flops.multiply_adds


def exit_table(results: Sequence[ExitResult]) -> str:
    """The results as a Markdown table, a line on what it shows above it."""
    rows = [
        {
            'block': str(one.block),
            'last unit': one.units,
            'classifier': one.classifier,
            'top-1 [%]': f'{one.accuracy:.2f}',
            'parameters': f'{one.parameters:,}',
            'multiply-adds [M]': f'{one.multiply_adds / 1e6:,.2f}',
        }
        for one in results
    ]
    shape = results[0].image_shape
    title = f'Early exits on test images of {shape}; parameters and multiply-adds up to the exit:'
    return f'{title}\n\n{markdown_table(rows, left=(1, 2))}'


def write_exits(path: str, results: Sequence[ExitResult]) -> None:
    """Write all results with plain numbers as CSV, into a new file."""
    write_csv(path, map(vars, results))


@in_style
def draw_exits(path: str, results: Sequence[ExitResult], title: str) -> None:
    """Write accuracy by block, and by multiply-adds, of results with the whole network last.

    The picture is a new .png file of 1320 x 540 pixels.
    """
    figure = new_figure(11, 4.5)
    left, right = figure.subplots(1, 2, sharey=True)
    accuracies = [one.accuracy for one in results]
    blocks, costs = [one.block for one in results], [one.multiply_adds / 1e6 for one in results]
    for axes, places in ((left, blocks), (right, costs)):
        axes.plot(places[:-1], accuracies[:-1], 'o-', color=BLUE, label='early exit')
        look = dict(color=VERMILION, markersize=8)
        axes.plot(places[-1:], accuracies[-1:], 's', label='whole network', **look)
    whole_numbers(left.xaxis)
    left.set(xlabel='last block that is run', ylabel='top-1 accuracy [%]')
    right.set_xlabel(f'multiply-adds of one image of {results[-1].image_shape} [millions]')
    right.set_xlim(left=0)
    left.legend(loc='best')
    figure.suptitle(title)
    save_png(figure, path)
