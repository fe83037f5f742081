"""Draw memory and time of the methods over backpropagation, costs.svg, from benchmarks/records.

Only what a record holds is drawn: nothing is run. ``make figures`` calls it.
"""

import json
from pathlib import Path
from statistics import median

from matplotlib import rc_context
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
RECORDS = FOLDER.parents[1] / 'benchmarks' / 'records'
#: A row of the picture -> the name of its variant in the records, the first on top.
ROWS = {
    'BP': 'bp',
    'BP + checkpointing': 'bp/recompute=block',
    'greedy': 'greedy',
    'DGL': 'dgl',
    'MAN': 'man',
    'MAN++': 'manpp',
    "MAN, recompute='block'": 'man/recompute=block',
    "MAN, recompute='all'": 'man/recompute=all',
}
SMALL = dict(color='#0072b2', marker='o')  # ResNet-32
LARGE = dict(color='#d55e00', marker='s')  # ResNet-110
#: Records of memory: file, how it is marked, whether the marker is filled (batch 128, not 32).
MEMORY = [
    ('2026-11-21-memory-methods/resnet32.json', SMALL, True),
    ('2026-11-27-memory-batch/resnet32-batch32.json', SMALL, False),
    ('2026-11-21-memory-methods/resnet110.json', LARGE, True),
    ('2026-11-27-memory-batch/resnet110-batch32.json', LARGE, False),
]
#: Records of time, batch 64 and 16.
TIME = [
    ('2026-11-27-time-k16/resnet32-k16.json', SMALL, True),
    ('2026-11-21-time/resnet110.json', LARGE, True),
]
#: Rows up or down, so that no network hides the other.
SHIFT = dict(o=0.14, s=-0.14)
LEGEND = [
    ('ResNet-32, K = 16; memory at batch 128, time at 64', SMALL, True),
    ('the same, memory at batch 32', SMALL, False),
    ('ResNet-110, K = 55; memory at batch 128, time at 16', LARGE, True),
    ('the same, memory at batch 32', LARGE, False),
]


def ratios(record: str) -> dict[str, float]:
    """Bytes or median seconds of every variant of a record, over those of ``bp``.

    Args:
        record (str): A file in benchmarks/records, of benchmarks/memory.py or benchmarks/time.py.
    """
    found = json.loads((RECORDS / record).read_text())['records']
    costs = {record['variant']: _cost(record) for record in found}
    return {variant: cost / costs['bp'] for variant, cost in costs.items()}


def _cost(record: dict) -> float:
    peaks = record.get('peak_bytes')
    return peaks['fake'] if peaks else median(record['seconds'])


def _style(mark: dict, filled: bool) -> dict:
    face = mark['color'] if filled else 'white'
    return dict(**mark, linestyle='', markersize=6, markerfacecolor=face, markeredgewidth=1.4)


def draw(path: Path) -> None:
    """Write the picture.

    Args:
        path (Path): An .svg file, maybe an old one.
    """
    figure = Figure(figsize=(6.2, 4.2), layout='constrained')
    panels = figure.subplots(1, 2, sharey=True)
    heights = {variant: -row for row, variant in enumerate(ROWS.values())}
    for axes, records in zip(panels, (MEMORY, TIME), strict=True):
        axes.axvline(1, color='0.35', linewidth=1)
        for record, mark, filled in records:
            shown = {v: r for v, r in ratios(record).items() if v in heights}
            axes.plot(
                shown.values(),
                [heights[v] + SHIFT[mark['marker']] for v in shown],
                **_style(mark, filled),
            )
        axes.grid(axis='y', color='0.88')
        axes.set_axisbelow(True)
        axes.spines[['top', 'right']].set_visible(False)
        axes.tick_params(axis='y', length=0)
    panels[0].set(xlim=(0, 1.08), yticks=list(heights.values()), yticklabels=list(ROWS))
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
