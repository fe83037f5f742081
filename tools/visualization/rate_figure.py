"""Learning rates and momenta as a picture."""

from collections.abc import Sequence
from itertools import cycle

from lr_schedule import Plan, Schedule
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INCHES, DPI = (8, 6), 120
# Told apart without colours.
STYLES = [
    dict(linestyle=style, color=grey) for grey in ('black', '0.6') for style in ('-', '--', ':')
]


def draw(path: str, found: Sequence[Schedule], plan: Plan, title: str) -> None:
    """Write learning rates above, momenta below, over iterations, epochs at the top.

    Args:
        path (str): A new .png file, 960 x 720 pixels.
        found (Sequence[Schedule]): The schedules, a line for each.
        plan (Plan): How long training goes.
        title (str): Above the whole.
    """
    # A Figure without pyplot draws without a display.
    figure = Figure(figsize=INCHES, dpi=DPI, layout='constrained')
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _draw(upper, found, [one.rates for one in found], plan)
    _draw(lower, found, [one.momenta for one in found], plan)
    upper.set_ylabel('learning rate')
    upper.set_ylim(bottom=0)
    lower.set_ylabel('momentum')
    lower.set_ylim(0, 1)
    lower.set_xlabel('iteration')
    if plan.by_epoch:
        length = plan.epoch_length
        top = upper.secondary_xaxis('top', (lambda x: x / length, lambda x: x * length))
        top.set_xlabel('epoch')
    handles, names = upper.get_legend_handles_labels()
    where = dict(loc='outside lower center', ncols=min(len(found), 4), handlelength=4)
    figure.legend(handles, names, frameon=False, **where)
    figure.suptitle(title)
    with open(path, 'xb') as file:
        figure.savefig(file, format='png')


def _draw(axes: Axes, found: Sequence[Schedule], values: Sequence[tuple], plan: Plan) -> None:
    for schedule, line, style in zip(found, values, cycle(STYLES), strict=False):
        # The last value holds to the end.
        steps = [*schedule.iterations, plan.iterations]
        axes.plot(steps, [*line, line[-1]], drawstyle='steps-post', label=schedule.name, **style)
