"""When loading fails in one process, no other process waits for it."""

import multiprocessing
from datetime import timedelta

import pytest
import torch.distributed as torch_dist

import mman  # noqa: F401
from mman.utils.all_ranks import run_on_all_ranks


def fail():
    raise OSError('disk full')


def test_single_process():
    assert run_on_all_ranks(lambda: 5) == 5
    with pytest.raises(OSError, match='disk full'):
        run_on_all_ranks(fail)


def _outcome(step, main_only):
    try:
        return run_on_all_ranks(step, main_only)
    except Exception as error:
        return f'{type(error).__name__}: {error}'


def _work(rank, store, queue):
    torch_dist.init_process_group(
        'gloo',
        init_method=f'file://{store}',
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=20),
    )
    queue.put(
        (
            rank,
            _outcome(fail, main_only=True),
            _outcome(lambda: fail() if rank == 1 else 'read', main_only=False),
            _outcome(lambda: 'fetched', main_only=True),
        )
    )
    torch_dist.destroy_process_group()


@pytest.mark.dist
def test_failure_reaches_every_process(tmp_path):
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    workers = [
        context.Process(target=_work, args=(rank, tmp_path / 'store', queue), daemon=True)
        for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    outcomes = dict((rank, rest) for rank, *rest in (queue.get(timeout=60) for _ in workers))
    for worker in workers:
        worker.join(timeout=20)
    first = 'RuntimeError: Loading failed on rank {}: disk full'
    assert outcomes == {
        0: ['OSError: disk full', first.format(1), 'fetched'],
        1: [first.format(0), 'OSError: disk full', None],
    }
