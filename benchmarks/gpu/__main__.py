"""Measure everything that needs a GPU, in slices: repeat the command until all is done.

Exit code 0: nothing is left; 75: run it again; 1: nothing is left, but a job failed twice;
2: something that it needs is missing.
"""

import argparse
import shlex
import shutil
import signal
import sys
import time
from datetime import date
from functools import partial
from importlib.util import find_spec
from pathlib import Path

START = time.monotonic()
PACKAGES = 'numpy torch torchvision mmengine mmcv mmpretrain'.split()
PROG = 'gpu.sh'
LEFT = 75


def main() -> int:
    """Check, work until the minutes are over, write the page."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        print(
            f'{PROG}: error: not installed: {", ".join(missing)} (requirements.txt)',
            file=sys.stderr,
        )
        sys.exit(2)
    # These import torch.
    from mman.apis.places import locked
    from mman.utils.errors import UserError, one_line_errors

    from . import preflight
    from .day import begin_or_go_on
    from .jobs import make_jobs
    from .page import write_page
    from .results import Results
    from .slices import MARGIN, open_jobs, work_through

    parser = build_parser()
    args = parser.parse_args()
    with one_line_errors(parser):
        if not args.dry_run:
            preflight.require_gpu()
        if args.data and not args.dry_run:
            preflight.require_cifar10(args.data, args.other_files)
        folder = args.folder.resolve()
        preflight.require_space(folder)
        # Ends the job that runs, and leaves what is done.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        names = ('dry_run', 'epochs', 'train_minutes', 'other_files')
        settings = {name: getattr(args, name) for name in names}
        now = dict(date=str(date.today()), settings=settings, **preflight.machine())
        day = begin_or_go_on(folder, now)
        data = args.data and str(args.data.resolve())
        results = Results(folder, {data: 'CIFAR10'} if data else None)
        make = partial(make_jobs, settings, results, data, preflight.what_lacks(args.dry_run))
        longest = max((job.seconds for job in open_jobs(make(), results)), default=0)
        if longest > 60 * args.minutes - MARGIN:
            raise UserError(
                f'--minutes {args.minutes:g} is too short for a job that may take {longest} s'
            )
        results.work.mkdir(exist_ok=True)
        with locked(results.work, f'FOLDER {str(args.folder)!r}'):
            work_through(make, results, START + 60 * args.minutes, tell)
            write_page(command(args), day, make(), results)
            code = summarize(make(), results)
        if code == 0:
            # Checkpoints and logs, which are no part of a record.
            shutil.rmtree(results.work, ignore_errors=True)
        return code


def build_parser() -> argparse.ArgumentParser:
    """The arguments."""
    from mman.cli.arguments import above_zero, at_least

    parser = argparse.ArgumentParser(prog=PROG, description=__doc__.split('\n\n')[0])
    add = parser.add_argument
    add('folder', metavar='FOLDER', type=Path, help='of results; the same in every call')
    add('--data', type=Path, metavar='CIFAR10', help='its folder [nothing is trained]')
    add('--other-files', action='store_true', help='the files in --data are not the official ones')
    add('--minutes', type=above_zero, default=9, help='after which a call has ended [9]')
    add('--epochs', type=at_least(1), help='of every training [what --train-minutes allow]')
    text = 'that all trainings together may take, as a short trial tells [5]'
    add('--train-minutes', type=above_zero, default=5, help=text)
    add('--dry-run', action='store_true', help='the same on a CPU, on tiny settings')
    return parser


def command(args: argparse.Namespace) -> str:
    """The command, with names in place of folders."""
    given = ['--data', 'CIFAR10'] if args.data else []
    given += ['--other-files'] if args.other_files else []
    given += ['--epochs', str(args.epochs)] if args.epochs else []
    given += ['--train-minutes', f'{args.train_minutes:g}'] if not args.epochs else []
    given += ['--dry-run'] if args.dry_run else []
    return shlex.join(['benchmarks/gpu.sh', 'FOLDER', *given, '--minutes', f'{args.minutes:g}'])


def summarize(jobs: list, results) -> int:
    """Say what is done, what failed and what is left; the exit code."""
    from .slices import open_jobs

    left = [job.name for job in open_jobs(jobs, results)]
    failed = [job.name for job in jobs if results.failure(job.name)]
    done = sum(results.result(job.name) is not None for job in jobs)
    missing = [f'{job.name} ({job.unavailable})' for job in jobs if job.unavailable]
    tell(f'done: {done} of {len(jobs)}')
    for words, names in (('not available', missing), ('failed', failed), ('left', left)):
        if names:
            tell(f'{words}: {", ".join(names)}')
    tell('run the same command again' if left else 'nothing is left to run')
    return LEFT if left else int(bool(failed))


def tell(line: str) -> None:
    """Print at once."""
    print(line, flush=True)


if __name__ == '__main__':
    sys.exit(main())
