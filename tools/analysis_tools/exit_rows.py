"""What every early exit of a classifier takes, and how often it is right."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmengine.utils import track_iter_progress
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mman.models.classifiers import exit_blocks, exit_logits
from mman.utils.flop_count import FlopCount


@dataclass(frozen=True)
class Row:
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


def exit_rows(model: nn.Module, batches: Sequence[dict]) -> list[Row]:
    """Rows of all exits.

    Args:
        model (nn.Module): A LocalImageClassifier in eval mode.
        batches (Sequence[dict]): A data loader, or its batches, with labels.
    """
    accuracies = exit_accuracies(model, batches)
    rows = []
    for block, accuracy in accuracies.items():
        parameters, flops = exit_costs(model, block)
        last = block == model.num_blocks - 1
        head = model.head if last else model.aux_heads[block]
        host = getattr(head, 'host', head)
        unit = model.block_ends[block]
        rows.append(Row(block, unit, type(host).__name__, accuracy, parameters, flops))
    return rows


@torch.no_grad()
def exit_accuracies(model: nn.Module, batches: Sequence[dict]) -> dict[int, float]:
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
