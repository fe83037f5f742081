"""What every early exit of a classifier takes, and how often it is right."""

import dataclasses
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

from mman.apis.config import set_loader_defaults
from mman.models.classifiers import check_exits, exit_blocks, exit_logits
from mman.utils.errors import UserError
from mman.utils.flop_count import FlopCount

from .plots import new_figure, save_png, whole_numbers
from .tables import markdown_table, write_csv

HEADINGS = ('block', 'last unit', 'classifier', 'top-1 [%]', 'parameters', 'MFLOPs')
LINE = dict(color='black', linewidth=1.2, marker='o', markersize=6)
# Told apart without colour: an exit is a filled circle, the whole network an open square.
WHOLE = dict(color='black', marker='s', markersize=9, fillstyle='none', linestyle='none')
_UNITS = ((1e9, 'GFLOPs'), (1e6, 'MFLOPs'), (1e3, 'kFLOPs'))


@dataclass(frozen=True)
class ExitResult:
    """One exit.

    Args:
        block (int): Its block, from 0.
        units (str): The last unit that is run.
        classifier (str): What predicts there.
        accuracy (float): Top-1 in percent on the test set.
        parameters (int): Of all that is run, the classifier included.
        flops (int): Floating-point operations of one image, a multiplication
            and an addition counting two.
    """

    block: int
    units: str
    classifier: str
    accuracy: float
    parameters: int
    flops: int


class UsedParameters(TorchDispatchMode):
    """Which of a module's parameters are used while the mode is on.

    An aux head may hold networks that its prediction does not run, a decoder
    for one.

    Args:
        module (nn.Module): The module.

    Attributes:
        count (int): Values in those used so far.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self._storages = {p.untyped_storage()._cdata: p.numel() for p in module.parameters()}
        self._used: set[int] = set()

    @property
    def count(self) -> int:
        return sum(self._storages[storage] for storage in self._used)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()._cdata
                if storage in self._storages:
                    self._used.add(storage)
        return func(*args, **(kwargs or {}))


def measure_exits(cfg: Config, model: nn.Module) -> list[ExitResult]:
    """Measure all exits on the test set of a config.

    Args:
        cfg (Config): Has ``test_dataloader``.
        model (nn.Module): A LocalImageClassifier in eval mode.

    Raises:
        UserError: If there is no test set, or the model has no exits.
    """
    check_exits(model, [])
    if cfg.get('test_dataloader') is None:
        raise UserError(f'config {cfg.filename!r} has no test_dataloader, which tells accuracies')
    set_loader_defaults(cfg)
    accuracies = exit_accuracies(model, Runner.build_dataloader(cfg.test_dataloader))
    results = []
    for block, accuracy in accuracies.items():
        parameters, flops = exit_costs(model, block)
        last = block == model.num_blocks - 1
        head = model.head if last else model.aux_heads[block]
        host = getattr(head, 'host', head)
        unit = model.block_ends[block]
        results.append(ExitResult(block, unit, type(host).__name__, accuracy, parameters, flops))
    return results


@torch.no_grad()
def exit_accuracies(model: nn.Module, batches: DataLoader) -> dict[int, float]:
    """Top-1 in percent of every exit, from one pass over the batches."""
    blocks, scores, labels = exit_blocks(model), {}, []
    for batch in track_iter_progress((batches, len(batches)), file=sys.stderr):
        data = model.data_preprocessor(batch, False)
        labels += [sample.gt_label.cpu() for sample in data['data_samples']]
        for block, logits in exit_logits(model, data['inputs'], blocks):
            scores.setdefault(block, []).append(logits.cpu())
    target = torch.cat(labels)
    return {
        block: 100 * (torch.cat(found).argmax(dim=1) == target).double().mean().item()
        for block, found in scores.items()
    }


@torch.no_grad()
def exit_costs(model: nn.Module, block: int) -> tuple[int, int]:
    """Parameters and operations of one image up to an exit."""
    image = next(model.parameters()).new_zeros(1, *model.input_shape)
    with UsedParameters(model) as used, FlopCount() as flops:
        list(exit_logits(model, image, [block]))
    return used.count, flops.total


def exit_table(results: Sequence[ExitResult]) -> str:
    """The results as a Markdown table."""
    rows = [
        (
            str(one.block),
            one.units,
            one.classifier,
            f'{one.accuracy:.2f}',
            f'{one.parameters:,}',
            f'{one.flops / 1e6:,.2f}',
        )
        for one in results
    ]
    return markdown_table(HEADINGS, rows, left=(1, 2))


def write_exits(path: str, results: Sequence[ExitResult]) -> None:
    """Write all results with plain numbers as CSV, into a new file."""
    names = [field.name for field in dataclasses.fields(ExitResult)]
    write_csv(path, names, map(dataclasses.asdict, results))


def draw_exits(path: str, results: Sequence[ExitResult], title: str) -> None:
    """Write accuracy by block, and by arithmetic.

    Args:
        path (str): A new .png file, 1320 x 540 pixels.
        results (Sequence[ExitResult]): The results, the whole network last.
        title (str): Above the whole.
    """
    size, unit = next((s, u) for s, u in _UNITS if results[-1].flops >= s or u == 'kFLOPs')
    figure = new_figure(11, 4.5)
    axes = figure.subplots(1, 2, sharey=True)
    accuracies = [one.accuracy for one in results]
    blocks, costs = [one.block for one in results], [one.flops / size for one in results]
    for axis, places in zip(axes, (blocks, costs), strict=True):
        axis.plot(places[:-1], accuracies[:-1], label='early exit', **LINE)
        axis.plot(places[-1:], accuracies[-1:], label='whole network', **WHOLE)
        axis.grid(color='#cccccc', linewidth=0.6)
    whole_numbers(axes[0].xaxis)
    axes[0].set_xlabel('last block that is run')
    axes[0].set_ylabel('top-1 accuracy [%]')
    axes[1].set_xlabel(f'arithmetic of one image [{unit}]')
    axes[1].set_xlim(left=0)
    axes[0].legend(loc='best')
    figure.suptitle(title)
    save_png(figure, path)
