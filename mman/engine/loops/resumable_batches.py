from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from mman.utils.random_state import seeded


class NumberedBatch(NamedTuple):
    """The indices of one batch, and what its random numbers start from."""

    # Seed, rank, epoch and number of the batch.
    seed: tuple[int, ...]
    indices: list[int]


class ResumableBatches(Sampler):
    """The batches of another batch sampler, from any one of them on.

    Batches are numbered, and the random numbers of the transforms that load a
    batch depend only on the seed, the rank, the epoch and its number: not on
    the worker that loads it, on how many there are or what was loaded before.

    Args:
        batch_sampler (Iterable): Gives lists of indices.
        endless (bool): Start it again whenever it ends.

    Attributes:
        seed (int): What all depends on; set before the first batch.
        rank (int): Which replica of the model is given the batches; likewise.
    """

    def __init__(self, batch_sampler: Sampler, endless: bool):
        self.batch_sampler = batch_sampler
        self.endless = endless
        self.seed = self.rank = 0
        self._epoch = 0
        self._first = 0

    @property
    def sampler(self) -> Sampler:
        """The sampler of single samples, which mmengine's hooks look for here."""
        return self.batch_sampler.sampler

    def start(self, epoch: int, first: int) -> None:
        """Choose what the next iterator gives: which epoch, without its ``first`` batches."""
        self._epoch, self._first = epoch, first

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[NumberedBatch]:
        batches = self._passes() if self.endless else self._epoch_batches()
        epoch = self._epoch
        for number, indices in islice(enumerate(batches), self._first, None):
            yield NumberedBatch((self.seed, self.rank, epoch, number), list(indices))

    def _epoch_batches(self) -> list[Sequence[int]]:
        """All of one epoch at once, so that a sampler may use the global generators.

        Without the rank: all ranks must draw the same order.
        """
        with seeded(self.seed, self._epoch):
            return list(self.batch_sampler)

    def _passes(self) -> Iterator[Sequence[int]]:
        epoch = 0
        while True:
            if epoch and hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            yield from self.batch_sampler
            epoch += 1


class SeededItems:
    """``dataset.__getitems__`` for numbered batches; plain ones are loaded as before."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self.load: Callable | None = getattr(dataset, '__getitems__', None)

    def __call__(self, batch: NumberedBatch | Sequence[int]) -> Any:
        if not isinstance(batch, NumberedBatch):
            return self._load(batch)
        with seeded(*batch.seed):
            return self._load(batch.indices)

    def _load(self, indices: Sequence[int]) -> Any:
        if self.load is not None:
            return self.load(indices)
        return [self.dataset[index] for index in indices]


def make_resumable(loader: DataLoader, endless: bool = False) -> ResumableBatches | None:
    """Let a loader start at any batch, and its batches be the same each time.

    The loader, not iterated over yet, and its data set stay the objects that they were,
    for hooks that change them. ``endless`` starts it again whenever it ends. Nothing is
    done, and None returned, for a loader without a batch sampler or with an
    IterableDataset, whose order nobody knows.
    """
    if loader.batch_sampler is None or isinstance(loader.dataset, IterableDataset):
        return None
    batches = ResumableBatches(loader.batch_sampler, endless)
    # DataLoader asks the data set for a batch by this name, and forbids to replace its batch
    # sampler by an assignment; no iterator has seen the old one yet.
    loader.dataset.__getitems__ = SeededItems(loader.dataset)
    vars(loader)['batch_sampler'] = batches
    return batches
