import logging
from itertools import repeat

import torch
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mman.registry import LOOPS
from mman.utils.random_state import unchanged_random_state

from ..pipeline import data_rank, mesh_of, sharing_batches
from .resumable_batches import ResumableBatches, make_resumable


class _Resumable:
    """What both loops need to go on where a checkpoint was saved.

    Attributes:
        endless (bool): Whether the data start again whenever they end.
        batch (int): Batches of the current epoch that the model has seen; 0
            between epochs and in the loop by iteration.
        unvalidated (bool): Whether the checkpoint was saved before a
            validation that may be due.
        batches (ResumableBatches | None): None if the loader allows none.
    """

    endless: bool
    batches: ResumableBatches | None
    batch = 0
    unvalidated = False

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, **kwargs):
        with sharing_batches(runner.model):
            super().__init__(runner, dataloader, **kwargs)
        self.batches = make_resumable(self.dataloader, self.endless)
        if self.batches is None:
            print_log(
                f'train_dataloader with {type(self.dataloader.dataset).__name__} cannot start in '
                'the middle: a resumed training will see other batches',
                logger='current',
                level=logging.WARNING,
            )

    def _iterator(self, epoch: int, first: int):
        """An iterator of the loader, made without drawing a random number."""
        if self.batches is not None:
            self.batches.seed = self.runner.seed
            self.batches.rank = data_rank(self.runner.model)
            self.batches.start(epoch, first)
        mesh = mesh_of(self.runner.model)
        if mesh is not None and not mesh.is_first:
            # It trains on what the stage before sends.
            return repeat(None) if self.endless else repeat(None, len(self.dataloader) - first)
        with unchanged_random_state():
            return iter(self.dataloader)

    def _validate_if_due(self, done: int, last: int) -> None:
        self._decide_current_val_interval()
        due = done % self.val_interval == 0 or done == last
        if self.runner.val_loop is not None and done >= self.val_begin and due:
            self.runner.val_loop.run()

    def _validate_after_resume(self, done: int, last: int) -> None:
        if self.unvalidated and done:
            self._validate_if_due(done, last)
        self.unvalidated = False


@LOOPS.register_module()
class ResumableEpochTrainLoop(_Resumable, EpochBasedTrainLoop):
    """mmengine's EpochBasedTrainLoop that goes on within an epoch, exactly.

    The remaining batches of the epoch are those of the uninterrupted training,
    with the same augmentation; the others are not loaded. A validation that
    the interruption prevented is made up for. ``train_cfg.by_epoch=True``
    becomes this loop in ``mman.apis.train_model``.

    Args:
        **kwargs: As in EpochBasedTrainLoop: ``max_epochs``, ``val_begin``,
            ``val_interval``, ``dynamic_intervals``.
    """

    endless = False

    def run(self) -> torch.nn.Module:
        """Train."""
        self.runner.call_hook('before_train')
        self._validate_after_resume(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate_if_due(self._epoch, self._max_epochs)
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train one epoch, or what is left of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        first = self.batch if self.batches is not None else 0
        for index, data in enumerate(self._iterator(self._epoch, first), first):
            self.batch = index + 1
            self.run_iter(index, data)
        self.batch = 0
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class ResumableIterTrainLoop(_Resumable, IterBasedTrainLoop):
    """mmengine's IterBasedTrainLoop that goes on with the very next batch.

    As :class:`ResumableEpochTrainLoop`; ``train_cfg.by_epoch=False`` becomes
    this loop. The loader runs on without a pause at the end of the data.

    Args:
        dataloader (DataLoader | dict): The training data. Its sampler should
            have a generator of its own, as those of mmengine do.
        **kwargs: As in IterBasedTrainLoop: ``max_iters``, ``val_begin``,
            ``val_interval``, ``dynamic_intervals``; with
            ``fast_forward_on_resume`` a resumed training starts the data anew.
    """

    endless = True

    def run(self) -> torch.nn.Module:
        """Train."""
        self.runner.call_hook('before_train')
        self._validate_after_resume(self._iter, self._max_iters)
        self.runner.call_hook('before_train_epoch')
        if self.batches is not None:
            first = 0 if self.fast_forward_on_resume else self._iter
            self.dataloader_iterator = self._iterator(0, first)
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._validate_if_due(self._iter, self._max_iters)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model
