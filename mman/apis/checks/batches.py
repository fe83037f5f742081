"""Loaders without a batch, over which training and measuring would do nothing."""

from mmengine.dist import get_world_size
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mman.utils.errors import UserError


def read_data(runner: Runner, *splits: str) -> None:
    """Build the loops of a Runner, which reads their data sets.

    Args:
        runner (Runner): Not yet run.
        *splits (str): 'train', 'val' or 'test'; those without a loop are left
            out.

    Raises:
        UserError: If a data set cannot be read, or gives no batch.
    """
    for split in splits:
        loop = getattr(runner, f'{split}_loop')
        if loop is not None:
            check_batches(loop.dataloader, f'{split}_dataloader')


def check_batches(loader: DataLoader, where: str) -> None:
    """Refuse a loader that gives no batch.

    Args:
        loader (DataLoader): Passes if it does not know its length.
        where (str): Its key in the config.

    Raises:
        UserError: Names the keys that decide.
    """
    try:
        count = len(loader)
    except TypeError:
        return
    if count:
        return
    raise UserError(
        f'{where} gives no batch: its data set has {len(loader.dataset)} samples (indices may '
        f'choose some), shared by {get_world_size()} processes, '
        f'{where}.batch_size={loader.batch_size!r} and {where}.drop_last={loader.drop_last!r}; '
        'take smaller batches, or keep the last one'
    )
