"""A slice: as many of the jobs as end before a deadline."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mman.utils.preempted import EXIT_CODE

from .jobs import Job
from .results import ROOT, Results

# Seconds before the deadline at which the last job has to be over.
MARGIN = 5
# Seconds that a training has to save a checkpoint.
GRACE = 20


def open_jobs(jobs: Sequence[Job], results: Results) -> list[Job]:
    """Those that are still to run, in the order in which they would.

    What the end of a slice cut comes first, where it has the most time; what failed comes last.
    """
    left = [
        job
        for job in jobs
        if not (job.unavailable or results.result(job.name) or results.gave_up(job.name))
        and not (job.after and results.gave_up(job.after))
    ]

    def place(job: Job) -> int:
        failure = results.failure(job.name)
        return 1 if failure is None else 0 if failure['cut'] else 2

    return sorted(left, key=place)


def work_through(
    make: Callable[[], Sequence[Job]], results: Results, deadline: float, tell: Callable
) -> None:
    """Run one job after the other, each at most once, none that may not end in time.

    Args:
        make (Callable): The jobs, as what is there so far makes them.
        results (Results): Where to keep what they give.
        deadline (float): Of ``time.monotonic``.
        tell (Callable): Called with a line on what happens.
    """
    tried: set[str] = set()
    while True:
        left = deadline - MARGIN - time.monotonic()
        job = next(
            (
                job
                for job in open_jobs(make(), results)
                if job.name not in tried
                and job.seconds <= left
                and (job.after is None or results.result(job.after))
            ),
            None,
        )
        if job is None:
            return
        tried.add(job.name)
        tell(f'{job.name}: started with {left:.0f} s left')
        tell(f'{job.name}: {_attempt(job, results, left)}')


def _attempt(job: Job, results: Results, left: float) -> str:
    """Run a job and keep its result or its failure; a line on what came out."""
    results.work.mkdir(parents=True, exist_ok=True)
    out, log = (results.work / f'{job.name}{suffix}' for suffix in ('.json', '.log'))
    out.unlink(missing_ok=True)
    if not job.resumable:
        shutil.rmtree(results.work / job.name, ignore_errors=True)
    limit = left if job.resumable else min(left, 3 * job.seconds)
    start = time.monotonic()
    code = _run([sys.executable, *job.command, '--out', str(out)], log, limit, job.resumable)
    seconds = time.monotonic() - start
    command = results.clean(shlex.join(['python', *job.command]))
    if code == EXIT_CODE and job.resumable:
        return f'stopped after {seconds:.0f} s, goes on in the next call'
    if code == 0 and out.is_file():
        results.keep(job.name, command, seconds, json.loads(out.read_text()))
        return f'done in {seconds:.0f} s'
    text = results.clean(log.read_text(errors='replace'))
    last = next((line for line in reversed(text.splitlines()) if line.strip()), 'nothing printed')
    error = f'exit code {code}: {last}' if code is not None else f'ended after {limit:.0f} s'
    results.fail(job.name, command, error, text, code is None and limit == left)
    return f'failed, {error}'


def _run(command: Sequence[str], log: Path, limit: float, resumable: bool) -> int | None:
    """Exit code of a command; None if it had to be killed after ``limit`` seconds."""
    with log.open('wb') as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        return process.wait(limit - GRACE if resumable else limit)
    except subprocess.TimeoutExpired:
        if resumable:
            process.terminate()
            try:
                return process.wait(GRACE)
            except subprocess.TimeoutExpired:
                pass
        return None
    finally:
        try:
            # With everything that it started.
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
