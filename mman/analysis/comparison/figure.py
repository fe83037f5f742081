"""A comparison as a picture: error against memory and, if measured, time; one point a row."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from ..plots import PALETTE, in_style, new_figure, save_png
from .grid import Candidate

# One marker and colour for a head and those that host it; fillings tell what momentum does.
MARKERS = 'o^Dsv<>Pphd*X'
FILLS = {None: 'none', 'sum': 'left', 'scaled': 'full'}


@in_style
def draw_comparison(
    path: Path, candidates: Sequence[Candidate], rows: Sequence[dict], title: str
) -> None:
    """Write mean top-1 errors, with bars of a standard deviation, over predicted peaks and times.

    Args:
        path (Path): A .png file, maybe an old one, 1350 x 900 pixels; with times 1950 x 900.
        candidates (Sequence[Candidate]): What was compared.
        rows (Sequence[dict]): What :func:`.make_rows` gives; those without an error are left out.
        title (str): Above the picture.
    """
    panels = {'predicted peak of a training iteration [MiB]': lambda row: row['peak_bytes'] / 2**20}
    if any(row['seconds_per_iteration'] for row in rows):
        panels['time of a training iteration [s]'] = lambda row: row['seconds_per_iteration']
    figure = new_figure(5 + 4 * len(panels), 6, dpi=150)
    figure.suptitle(title)
    several_k = len({one.num_blocks for one in candidates} - {1}) > 1
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (label, place) in zip(all_axes, panels.items(), strict=True):
        _draw_points(axes, candidates, rows, place, several_k)
        axes.set_xlabel(label)
    spread_note = ', mean and std over seeds' if any(row['seeds'] > 1 for row in rows) else ''
    all_axes[0].set_ylabel(f'top-1 error after the last epoch [%]{spread_note}')
    handles, names = all_axes[0].get_legend_handles_labels()
    if names:
        heading = 'method, K beside its point' if several_k else 'method'
        figure.legend(handles, names, loc='outside right upper', title=heading)
    save_png(figure, path, overwrite=True)


def _draw_points(
    axes: Axes,
    candidates: Sequence[Candidate],
    rows: Sequence[dict],
    place: Callable[[dict], float | None],
    several_k: bool,
) -> None:
    """The points of one panel, each where ``place`` puts it on the axis below."""
    kinds, named = [], set()
    for one, row in zip(candidates, rows, strict=True):
        momentum = one.momentum_head
        head = one.cfg.model.get('aux_head') if momentum is None else momentum.host
        kind = one.method if head is None else repr(head)
        kinds += [] if kind in kinds else [kind]
        x = place(row)
        if row['error_mean'] is None or x is None:
            continue
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
