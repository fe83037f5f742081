"""What is measured: jobs, each a command of this repository that writes one JSON file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .results import Results

# mode: arguments of time.py; each changes one thing of the first
MODES = {
    'eager': (),
    'bf16': ('--dtype', 'bfloat16'),
    'channels_last': ('--memory-format', 'channels_last'),
    'compiled': ('--compile',),
}
# case of time.py and memory.py: images of a batch that is timed, seconds that a table may take. The
# batch of the recipe for CIFAR-10, that of the memory for ImageNet. The seconds are guesses, made
# without a GPU.
CASES = {
    'resnet32_k16': (1024, 45),
    'resnet110_k55': (1024, 75),
    'resnet50_k4': (128, 60),
    'resnet101_k4': (128, 75),
}
VARIANTS = ('bp/recompute=block', 'dgl', 'man')
MEMORY_VARIANTS = (*VARIANTS, 'dgl/recompute=all', 'man/recompute=all')
#: Rows of comparisons/cifar10_gpu.py.
METHODS = ('bp_k1', 'dgl_k16', 'man_dgl_k16')
#: Those of the schedule; no more are trained, and of a dry run no more than the second.
MOST_EPOCHS, MOST_DRY = 160, 2


@dataclass(frozen=True)
class Job:
    """One command.

    Args:
        name (str): Also of its file.
        command (tuple[str, ...]): A script with its arguments; ``--out FILE``
            comes behind.
        seconds (int): What must be left of a slice for it to start. One that
            cannot resume is ended after three times as long.
        unavailable (str | None): Why it cannot run here. Defaults to None, it can.
        resumable (bool): Whether SIGTERM saves what it has done, with exit code
            75. Defaults to False.
        after (str | None): The job whose result it needs. Defaults to None.
    """

    name: str
    command: tuple[str, ...]
    seconds: int
    unavailable: str | None = None
    resumable: bool = False
    after: str | None = None


def make_jobs(
    settings: Mapping, results: Results, data: str | None, lacking: Mapping[str, str]
) -> list[Job]:
    """All jobs, in the order of their worth.

    Args:
        settings (Mapping): ``dry_run``, ``epochs``, ``train_minutes``, ``other_files``.
        results (Results): What is there; the number of epochs follows from it.
        data (str | None): Folder of CIFAR-10; without one nothing is trained.
        lacking (Mapping[str, str]): Why ``tests`` or a mode cannot run here.
    """
    dry = settings['dry_run']
    cases = ('resnet32_k16', 'resnet110_k55') if dry else tuple(CASES)
    tests = ('tests/test_engine/test_amp_gpu.py',) if dry else ()
    jobs = [
        Job('tests', ('benchmarks/gpu/run_tests.py', *tests), 90, lacking.get('tests')),
        *(_memory(case, dry) for case in cases[: 1 if dry else None]),
        *(_time(case, 'eager', dry, lacking) for case in cases),
        *(_trainings(settings, results, data) if data or dry else ()),
        *(
            _time(case, mode, dry, lacking)
            for mode in list(MODES)[1:]
            for case in cases[: 1 if dry else None]
        ),
    ]
    # A tiny one takes this long at the most on a busy machine.
    return [replace(job, seconds=50 if job.resumable else 30) for job in jobs] if dry else jobs


def _memory(case: str, dry: bool) -> Job:
    how, batch, only = ('real', 2, ('dgl',)) if dry else ('cuda', 128, MEMORY_VARIANTS)
    command = ('benchmarks/memory.py', case, '--how', 'fake', how, '--batch', str(batch))
    return Job(f'memory-{case}', (*command, '--only', *only), CASES[case][1])


def _time(case: str, mode: str, dry: bool, lacking: Mapping[str, str]) -> Job:
    batch, seconds = CASES[case]
    device, batch, rounds, only = ('cpu', 2, 2, ('dgl',)) if dry else ('cuda', batch, 20, VARIANTS)
    command = ('benchmarks/time.py', '--case', case, '--device', device, '--batch', str(batch))
    command += ('--rounds', str(rounds), *MODES[mode], '--only', *only)
    seconds *= 2 if mode == 'compiled' else 1
    return Job(f'time-{case}-{mode}', command, seconds, lacking.get(mode))


def _trainings(settings: Mapping, results: Results, data: str | None) -> list[Job]:
    given = ('--dry-run',) if settings['dry_run'] else ('--data', str(data))
    given += ('--other-files',) if settings['other_files'] else ()
    base, epochs = ('benchmarks/gpu/train.py', *given), settings['epochs']
    jobs, after = [], None
    if epochs is None:
        command = (*base, '--work', str(results.work / 'probe'), '--epochs', '3', *METHODS)
        jobs, after = [Job('probe', command, 90)], 'probe'
        probe = results.result('probe')
        epochs = probe and epochs_that_fit(settings, probe['output']['runs'])
    for method in METHODS:
        command = (*base, '--work', str(results.work / 'train'), '--epochs', str(epochs), method)
        jobs.append(Job(f'train-{method}', command, 60, resumable=True, after=after))
    return jobs


def epochs_that_fit(settings: Mapping, probes: Mapping[str, Mapping]) -> int:
    """So many that one training of each method takes ``train_minutes`` in all, one at least."""
    seconds = sum(probe['seconds_per_epoch'] for probe in probes.values())
    fitting = int(60 * settings['train_minutes'] / seconds)
    return max(1, min(MOST_DRY if settings['dry_run'] else MOST_EPOCHS, fitting))
