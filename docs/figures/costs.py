"""Draw memory and time of the methods over backpropagation, costs.svg, from benchmarks/records.

Only what a record holds is drawn: nothing is run. ``make figures`` calls it.
"""

import json
import re
from pathlib import Path
from statistics import median

from matplotlib import rc_context
from matplotlib.figure import Figure

from mman.analysis.baselines import BASELINES

FOLDER = Path(__file__).parent
RECORDS = FOLDER.parents[1] / 'benchmarks' / 'records'
#: A row of the picture -> the name of its variant in the records, the first on top.
ROWS = {
    'BP': 'bp',
    'BP + checkpointing': 'bp/recompute=block',
    'BP in 4 parts': 'bp-accumulate4',
    'BP in 8 parts': 'bp-accumulate8',
    'BP in 8 parts + checkpointing': 'bp-accumulate8-checkpoint',
    'BP, saved tensors on the CPU': 'bp-cpu',
    'the same + checkpointing': 'bp-cpu-checkpoint',
    'BP, backward steps + checkpointing': 'bp-backward-step-checkpoint',
    'greedy': 'greedy',
    'DGL': 'dgl',
    'MAN': 'man',
    'MAN++': 'manpp',
    "MAN, recompute='block'": 'man/recompute=block',
    "MAN, recompute='all'": 'man/recompute=all',
}
SMALL = dict(color='#0072b2', marker='o')  # ResNet-32
LARGE = dict(color='#d55e00', marker='s')  # ResNet-110
_METHODS, _BATCH = '2026-11-21-memory-methods', '2026-11-27-memory-batch'
_BASELINES, _TIMES = '2026-11-28-fair-baselines', '2026-11-30-time-baselines'
#: Records of memory: files, how they are marked, whether the marker is filled (not at batch 32).
MEMORY = [
    ([f'{_METHODS}/resnet32.json', f'{_BASELINES}/resnet32-batch128.json'], SMALL, True),
    ([f'{_BATCH}/resnet32-batch32.json', f'{_BASELINES}/resnet32-batch32.json'], SMALL, False),
    ([f'{_METHODS}/resnet110.json', f'{_BASELINES}/resnet110-batch128.json'], LARGE, True),
    ([f'{_BATCH}/resnet110-batch32.json', f'{_BASELINES}/resnet110-batch32.json'], LARGE, False),
]
#: Records of time.
TIME = [
    ([f'{_TIMES}/resnet32-batch128.json'], SMALL, True),
    ([f'{_TIMES}/resnet32-batch32.json'], SMALL, False),
    (['2026-11-21-time/resnet110.json'], LARGE, True),
]
#: Rows up or down, so that no network hides the other.
SHIFT = dict(o=0.14, s=-0.14)
LEGEND = [
    ('ResNet-32, K = 16, batch 128', SMALL, True),
    ('the same, batch 32', SMALL, False),
    ('ResNet-110, K = 55; memory at batch 128, time at 16', LARGE, True),
    ('the same, memory at batch 32', LARGE, False),
]


def ratios(record: str) -> dict[str, float]:
    """Bytes or median seconds of every variant of a file in benchmarks/records, over ``bp``."""
    found = json.loads((RECORDS / record).read_text())['records']
    costs = {_variant(record): _cost(record) for record in found}
    return {variant: cost / costs['bp'] for variant, cost in costs.items()}


def _variant(record: dict) -> str:
    """Its name; records of 2026-11-28-fair-baselines have words instead."""
    if 'variant' in record:
        return record['variant']
    names = {one.words: one.name for one in BASELINES}
    # Local methods have the K of the network in their names.
    return names.get(record['name']) or re.sub(r' k\d+$', '', record['name'])


def _cost(record: dict) -> float:
    if 'host' in record:
        return record['device'] + record['host']
    peaks = record.get('peak_bytes')
    return peaks['fake'] if peaks else median(record['seconds'])


def _style(mark: dict, filled: bool) -> dict:
    face = mark['color'] if filled else 'none'
    return dict(**mark, linestyle='', markersize=6, markerfacecolor=face, markeredgewidth=1.4)


def draw(path: Path) -> None:
    """Write the picture into an .svg file, maybe an old one."""
    figure = Figure(figsize=(6.8, 5.4), layout='constrained')
    panels = figure.subplots(1, 2, sharey=True)
    heights = {variant: -row for row, variant in enumerate(ROWS.values())}
    for axes, records in zip(panels, (MEMORY, TIME), strict=True):
        axes.axvline(1, color='0.35', linewidth=1)
        for files, mark, filled in records:
            found = {v: r for file in files for v, r in ratios(file).items()}
            shown = {v: r for v, r in found.items() if v in heights}
            axes.plot(
                shown.values(),
                [heights[v] + SHIFT[mark['marker']] for v in shown],
                **_style(mark, filled),
            )
        axes.grid(axis='y', color='0.88')
        axes.set_axisbelow(True)
        axes.spines[['top', 'right']].set_visible(False)
        axes.tick_params(axis='y', length=0)
    panels[0].set(xlim=(0, 1.75), yticks=list(heights.values()), yticklabels=list(ROWS))
    panels[0].set_xlabel('peak memory / BP, predicted')
    panels[1].set(xlim=(0, 6.4))
    panels[1].set_xlabel('time / BP, one CPU thread')
    for label, mark, filled in LEGEND:
        panels[0].plot([], [], label=label, **_style(mark, filled))
    figure.legend(loc='outside lower center', ncols=1, frameon=False)
    # The same records give the same file: no date, no random names.
    with rc_context({'svg.hashsalt': 'mman', 'svg.fonttype': 'path'}):
        figure.savefig(path, format='svg', metadata={'Date': None})


if __name__ == '__main__':
    draw(FOLDER / 'costs.svg')
