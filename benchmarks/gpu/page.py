"""The page of a GPU day, README.md, all of it from the files beside it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from mman.analysis.tables import markdown_table, mebibytes
from mman.utils.atomic_file import write_atomically

from .jobs import CASES, MODES, Job
from .results import ATTEMPTS, Results

NAMES = {
    'resnet32_k16': 'ResNet-32, CIFAR-10 at 32 x 32',
    'resnet110_k55': 'ResNet-110, CIFAR-10 at 32 x 32',
    'resnet50_k4': 'ResNet-50, ImageNet at 224 x 224',
    'resnet101_k4': 'ResNet-101, ImageNet at 224 x 224',
}
NONE = '-'


def write_page(command: str, day: Mapping, jobs: Sequence[Job], results: Results) -> None:
    """Write README.md for what is there."""
    device = day['device']
    parts = [
        *_head(command, day),
        *_tests(results),
        *_memory(results, device),
        *_times(results, device),
        *_trainings(results, device),
        *_open(jobs, results),
    ]
    text = '\n\n'.join(parts) + '\n'
    write_atomically(results.folder / 'README.md', results.clean(text).encode())


def _head(command: str, day: Mapping) -> Iterator[str]:
    yield '# A day on a GPU' + (': dry run' if day['settings']['dry_run'] else '')
    if day['settings']['dry_run']:
        yield (
            '**A dry run on a CPU with tiny settings: it shows that the commands work. No figure '
            'below is a result.**'
        )
    yield f'```shell\n{command}\n```'
    commit = f'`{day["commit"]}`' if day['commit'] else 'not known, there was no git'
    versions = ', '.join(f'{name} {version}' for name, version in day['versions'].items())
    cuda = f'driver {day["driver"]}, CUDA {day["cuda"]}, cuDNN {day["cudnn"]}. '
    yield (
        f'Date: {day["date"]}. Commit: {commit}, files that differ from it: {day["changed"]}; '
        f'SHA-256 of the sources: `{day["sources"]}`. Device: {day["device"]}; '
        f'{cuda if day["driver"] else ""}{versions}.\n\n'
        'Raw output: `raw/`, a file for each command with the command in it. What failed is in '
        '`failed/`.'
    )


def _tests(results: Results) -> Iterator[str]:
    found = results.result('tests')
    if found is None:
        return
    ended = found['output']
    yield '## Tests'
    yield '`pytest -m gpu`: ' + ', '.join(f'{len(ended[how])} {how}' for how in ended) + '.'
    lines = [f'- failed: `{name}`' for name in ended['failed']]
    skipped = Counter(name.partition('::')[0] for name in ended['skipped'])
    lines += [f'- skipped: {count} of `{file}`' for file, count in skipped.items()]
    if lines:
        yield '\n'.join(lines)


def _memory(results: Results, device: str) -> Iterator[str]:
    rows, batch = [], None
    for case in CASES:
        found = results.result(f'memory-{case}')
        for record in found['output']['records'] if found else ():
            batch = found['output']['settings']['batch']
            (how,) = set(record['peak_bytes']) - {'fake'}
            peaks, ratio = record['peak_bytes'], record['ratio']
            measured = peaks[how]
            off = NONE if measured is None else f'{100 * (peaks["fake"] / measured - 1):+.1f} %'
            rows.append(
                {
                    'network': NAMES[case],
                    'method': record['variant'],
                    'K': str(len(record['ends'])),
                    'predicted, MiB': mebibytes(peaks['fake']),
                    'over bp': _cell(ratio['fake']),
                    'measured, MiB': 'out of memory' if measured is None else mebibytes(measured),
                    'measured over bp': _cell(ratio[how]),
                    'prediction is off by': off,
                }
            )
    if rows:
        yield '## Peak memory'
        yield (
            f'One iteration, batch {batch}, float32, on {device}. Predicted: live tensors. '
            "Measured: on a GPU its allocator's peak, on a CPU live tensors."
        )
        yield markdown_table(rows, left=(0, 1))


def _times(results: Results, device: str) -> Iterator[str]:
    for case in CASES:
        found = {mode: results.result(f'time-{case}-{mode}') for mode in MODES}
        found = {mode: one['output'] for mode, one in found.items() if one}
        if not found:
            continue
        rows: dict[str, dict] = {}
        for mode, output in found.items():
            for record in output['records']:
                name = {'method': record['variant'], 'K': str(len(record['ends']))}
                row = rows.setdefault(record['variant'], name)
                row[f'{mode}, images/s'] = f'{record["images_per_second"]:,.1f}'
                row[f'{mode}, time / bp'] = _cell(record['ratio'])
        batch = next(iter(found.values()))['settings']['batch']
        yield f'## Images per second: {NAMES[case]}'
        yield (
            f'Batch {batch} on {device}, random images from host memory, no data loader. *time / '
            'bp* is the median time of an iteration over that of bp in the same process. Eager is '
            "float32, with torch's default of TF32 in convolutions, and contiguous; each other "
            'mode changes that one thing.'
        )
        yield markdown_table(list(rows.values()))


def _trainings(results: Results, device: str) -> Iterator[str]:
    rows, outputs = [], []
    for name in sorted(path.stem for path in (results.folder / 'raw').glob('train-*.json')):
        output = results.result(name)['output']
        outputs.append(output)
        ((method, run),) = output['runs'].items()
        times = [line['time'] for line in run['scalars'] if 'loss' in line]
        rows.append(
            {
                'method': method,
                'K': str(run['num_blocks']),
                'top-1, last epoch': f'{run["top1"]:.2f} %',
                'ms per iteration, with its data': f'{1000 * median(times):.1f}',
            }
        )
    if rows:
        first, run = outputs[0], next(iter(outputs[0]['runs'].values()))
        files = 'the official files' if first['official'] else 'not the official files'
        yield '## Training'
        yield (
            f'ResNet-32, CIFAR-10 ({files}), batch {run["batch"]}, '
            f'{first["epochs"]} epochs, seed {first["seed"]}, images in memory, on {device}; '
            '`benchmarks/comparisons/cifar10_gpu.py`. One seed and a shortened schedule: beside '
            'published figures it says nothing.'
        )
        yield markdown_table(rows)


def _open(jobs: Sequence[Job], results: Results) -> Iterator[str]:
    lines = []
    for job in jobs:
        failure = results.failure(job.name)
        if results.result(job.name):
            continue
        if job.unavailable:
            lines.append(f'- `{job.name}`: not available: {job.unavailable}')
        elif failure:
            again = '' if failure['attempts'] >= ATTEMPTS else '; it will be tried once more'
            lines.append(f'- `{job.name}`: failed: {failure["error"]}{again}')
        elif job.after and results.gave_up(job.after):
            lines.append(f'- `{job.name}`: needs `{job.after}`, which failed')
        else:
            lines.append(f'- `{job.name}`: not run yet')
    if lines:
        yield '## Not measured'
        yield '\n'.join(lines)


def _cell(ratio: float | None) -> str:
    return NONE if ratio is None else f'{ratio:.3f}'
