"""Run a step of loading so that all processes succeed or all fail."""

from collections.abc import Callable
from typing import TypeVar

from mmengine import dist

T = TypeVar('T')


def run_on_all_ranks(step: Callable[[], T], main_only: bool = False) -> T | None:
    """Run a step, then fail in every process if it failed in one.

    A process that raises alone leaves the others waiting in their next
    collective call, for half an hour with torch's default timeout. All
    processes must call this; it is also the barrier after the step.

    Args:
        step (Callable): Its result is returned, None where it does not run.
        main_only (bool): Run it in rank 0 only. Defaults to False.

    Raises:
        Exception: What the step raised in this process, unchanged.
        RuntimeError: If it failed elsewhere only; has that rank and message.
    """
    result, error = None, None
    if dist.is_main_process() or not main_only:
        try:
            result = step()
        except Exception as caught:
            error = caught
    reports = dist.all_gather_object(None if error is None else str(error))
    if error is not None:
        raise error
    for rank, report in enumerate(reports):
        if report is not None:
            raise RuntimeError(f'Loading failed on rank {rank}: {report}')
    return result
