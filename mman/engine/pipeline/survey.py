"""What a pipeline has to know of every block, found by running it on fake tensors."""

from dataclasses import dataclass

import torch
from mmpretrain.structures import DataSample
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mman.models.aux_heads import LocalBatch
from mman.models.classifiers import LocalBlock, LocalImageClassifier
from mman.utils import UserError
from mman.utils.fake_copy import FAKE_BATCH, NO_VALUES, fake_copy
from mman.utils.flop_count import FlopCount, OperationCount


@dataclass(frozen=True)
class BlockSurvey:
    """What one block does in a training iteration.

    Args:
        flops (int): Floating-point operations for one image, both passes.
        operations (int): Operations that a device is given, whatever the batch.
        output_bytes (int): Of its output, for one image.
        images (bool): Whether its loss asks for the images.
        random (tuple[str, ...]): Operations that draw random numbers.
        reaches (tuple[str, ...]): Blocks before or after it that its gradients reach.
    """

    flops: int
    operations: int
    output_bytes: int
    images: bool
    random: tuple[str, ...]
    reaches: tuple[str, ...]


def survey_blocks(classifier: LocalImageClassifier) -> list[BlockSurvey]:
    """Run every block of a classifier on fake tensors; UserError if one reads values of tensors."""
    # Built first: a copy is not compiled, but blocks that it builds itself would be.
    _ = classifier.local_blocks
    with fake_copy(classifier) as copied:
        copied.train()
        x = torch.empty(FAKE_BATCH, *copied.input_shape)
        found = []
        for block in copied.local_blocks:
            try:
                survey, x = _survey(copied, block, x)
            except NO_VALUES as error:
                raise UserError(
                    f'model_wrapper_cfg: {block.name} reads values of tensors, so a pipeline '
                    'cannot find out what it needs'
                ) from error
            found.append(survey)
        return found


def check_blocks(surveys: list[BlockSurvey]) -> None:
    """Refuse blocks that draw random numbers or send gradients to another."""
    for index, survey in enumerate(surveys):
        if survey.random:
            raise UserError(
                f'model: block{index} draws random numbers ({", ".join(survey.random)}), as '
                'dropout and drop path do: in a pipeline they would not be those of one process; '
                'set the rates to 0, or use LocalDistributedDataParallel'
            )
        if survey.reaches:
            raise UserError(
                f'model.aux_head: the loss of block{index} sends gradients to '
                f'{", ".join(survey.reaches)}: a pipeline has no way for them; use '
                'LocalDistributedDataParallel'
            )


def edges_with_images(surveys: list[BlockSurvey]) -> list[bool]:
    """Per block, whether one after it asks for the images."""
    return [any(later.images for later in surveys[k + 1 :]) for k in range(len(surveys))]


def _survey(
    model: nn.Module, block: LocalBlock, x: torch.Tensor
) -> tuple[BlockSurvey, torch.Tensor]:
    samples = [DataSample().set_gt_label(0) for _ in range(FAKE_BATCH)]
    batch = _Watched(torch.empty(FAKE_BATCH, *model.input_shape), samples)
    for p in model.parameters():
        p.grad = None
    with FlopCount() as flops, OperationCount() as operations, _RandomOperations() as drawn:
        output, losses = block(x, batch)
        loss, _ = model.parse_losses(losses)
        loss.backward()
    own = {id(p) for p in block.parameters()}
    reaches = {
        other.name
        for other in model.local_blocks
        for p in other.parameters()
        if p.grad is not None and id(p) not in own
    }
    nbytes = output.numel() * output.element_size() // FAKE_BATCH
    is_last = block is model.local_blocks[-1]
    survey = BlockSurvey(
        flops.total // FAKE_BATCH,
        operations.total,
        nbytes,
        bool(batch.seen) and not is_last,
        tuple(sorted(drawn.names)),
        tuple(sorted(reaches)),
    )
    return survey, output


class _Watched(LocalBatch):
    """A batch that notes, for its copies too, what of its images somebody looked at."""

    def __init__(self, *args):
        self.seen: set[str] = set()
        super().__init__(*args)

    def __getattribute__(self, name: str):
        if name in ('image', 'inputs'):
            self.seen.add(name)
        return super().__getattribute__(name)


class _RandomOperations(TorchDispatchMode):
    """Names of the operations that draw from a global generator."""

    def __init__(self):
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded in func.tags and not _draws_nothing(func, kwargs):
            self.names.add(func._overloadpacket.__name__)
        return func(*args, **kwargs)


def _draws_nothing(func, kwargs: dict) -> bool:
    """Attention without dropout has the tag too; a rate is left out where it is 0."""
    return 'attention' in func._overloadpacket.__name__ and not kwargs.get('dropout_p')
