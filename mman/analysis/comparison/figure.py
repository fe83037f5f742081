"""A comparison as a picture: error against memory, one point a row."""

from collections.abc import Sequence
from pathlib import Path

from ..plots import PALETTE, in_style, new_figure, save_png
from .grid import Candidate

# One marker and colour for a head and those that host it; fillings tell what momentum does.
MARKERS = 'o^Dsv<>Pphd*X'
FILLS = {None: 'none', 'sum': 'left', 'scaled': 'full'}


@in_style
def draw_comparison(
    path: Path, candidates: Sequence[Candidate], rows: Sequence[dict], title: str
) -> None:
    """Write mean top-1 errors, with bars of a standard deviation, over predicted peaks.

    The picture is a .png file, maybe an old one, of 1350 x 900 pixels. ``rows`` are those of
    :func:`.make_rows`, one a candidate; those without an error are left out.
    """
    figure = new_figure(9, 6, dpi=150)
    axes = figure.subplots()
    several_k = len({one.num_blocks for one in candidates} - {1}) > 1
    kinds, named = [], set()
    for one, row in zip(candidates, rows, strict=True):
        momentum = one.momentum_head
        head = one.cfg.model.get('aux_head') if momentum is None else momentum.host
        kind = one.method if head is None else repr(head)
        kinds += [] if kind in kinds else [kind]
        if row['error_mean'] is None:
            continue
        x = row['peak_bytes'] / 2**20
        axes.errorbar(
            *(x, row['error_mean'], row['error_std']),
            marker=MARKERS[kinds.index(kind) % len(MARKERS)],
            markersize=8,
            fillstyle=FILLS[None if momentum is None else momentum.get('mix', 'sum')],
            color=PALETTE[kinds.index(kind) % len(PALETTE)],
            **dict(ecolor='0.5', elinewidth=1, capsize=3, linestyle='', zorder=3),
            label=None if one.method in named else one.method,
        )
        named.add(one.method)
        if several_k and one.num_blocks > 1:
            where = dict(xytext=(6, 6), textcoords='offset points', fontsize=8)
            axes.annotate(f'{one.num_blocks}', (x, row['error_mean']), **where)
    axes.set(title=title, xlabel='predicted peak of a training iteration [MiB]')
    spread_note = ', mean and std over seeds' if any(row['seeds'] > 1 for row in rows) else ''
    axes.set_ylabel(f'top-1 error after the last epoch [%]{spread_note}')
    if named:
        heading = 'method, K beside its point' if several_k else 'method'
        figure.legend(loc='outside right upper', title=heading)
    save_png(figure, path, overwrite=True)
