from .resumable_batches import ResumableBatches
from .train_loops import ResumableEpochTrainLoop, ResumableIterTrainLoop

__all__ = ['ResumableBatches', 'ResumableEpochTrainLoop', 'ResumableIterTrainLoop']
