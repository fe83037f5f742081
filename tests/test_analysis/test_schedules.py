"""mman.analysis.schedules against formulas of schedules."""

import math

import pytest

from mman import apis
from mman.analysis import schedules
from mman.analysis.schedules import (
    Schedule,
    draw_schedules,
    read_schedules,
    schedule_text,
    write_schedules,
)
from mman.utils import UserError
from tests.helpers.look_inside import DIGITS, digits_config, picture_size
from tests.helpers.tables import csv_rows

LENGTH = 5


@pytest.fixture
def run(tmp_path):
    """Schedules of a config of 4 blocks: their text, and values per block and iteration."""

    def call(scheduler, max_epochs=20, **changes):
        cfg = digits_config(tmp_path / 'small.py', **{'train_cfg.max_epochs': max_epochs})
        cfg.param_scheduler = scheduler
        cfg.merge_from_dict(changes)
        length, found = read_schedules(cfg, LENGTH)
        return schedule_text(length, found), values(found, LENGTH * max_epochs)

    return call


def values(schedules, iterations):
    """By block, the (rate, momentum) of every iteration."""
    found = {}
    for one in schedules:
        changes = {start: (rate, momentum) for start, rate, momentum in one.points}
        line, now = [], None
        for i in range(iterations):
            now = changes.get(i, now)
            line.append(now)
        found |= {block: line for block in one.blocks}
    return dict(sorted(found.items()))


def ramp_cosine(epoch, base=0.1, ramp=2, start=0.01, total=20):
    """The schedule of the papers in epoch 1 .. total."""
    cosine = base / 2 * (1 + math.cos(math.pi * epoch / total))
    if epoch > ramp:
        return cosine
    return cosine * (epoch - 1) / ramp + start * (ramp + 1 - epoch) / ramp


def test_the_schedule_of_the_papers(run):
    text, found = run(dict(type='RampCosineLR', ramp_epochs=2, ramp_start=0.01))
    expected = [(ramp_cosine(1 + i // LENGTH), 0.9) for i in range(100)]
    assert list(found) == [0, 1, 2, 3]
    for block in found.values():
        assert block == [pytest.approx(pair, abs=1e-12) for pair in expected]
    assert '100 iterations, 20 epochs of 5' in text
    assert 'blocks 0 - 3: lr 0.01 at first' in text


def test_warm_up_by_iterations_then_cosine(run):
    """As ImageNet recipes have it: both closed forms, joined."""
    warm = dict(type='LinearLR', start_factor=0.1, by_epoch=True, end=2, convert_to_iter_based=True)
    cosine = dict(type='CosineAnnealingLR', T_max=18, by_epoch=True, begin=2, end=20)
    _, found = run([warm, cosine])
    rates = [rate for rate, _ in found[0]]
    for i in range(10):
        assert rates[i] == pytest.approx(0.1 * (0.1 + 0.9 * i / 9))
    for epoch in range(3, 20):
        expected = 0.05 * (1 + math.cos(math.pi * (epoch - 2) / 18))
        assert rates[LENGTH * epoch] == rates[LENGTH * epoch + 4] == pytest.approx(expected)


def test_blocks_with_rates_of_their_own(run):
    blocks = {0: dict(optimizer=dict(lr=0.5)), 2: dict(optimizer=dict(momentum=0.5))}
    steps = dict(type='MultiStepLR', milestones=[4, 8], gamma=0.1)
    text, found = run(steps, **{'optim_wrapper.blocks': blocks})
    for block, (base, momentum) in enumerate([(0.5, 0.9), (0.1, 0.9), (0.1, 0.5), (0.1, 0.9)]):
        for i, now in enumerate(found[block]):
            assert now == pytest.approx((base * 0.1 ** ((i >= 20) + (i >= 40)), momentum))
    for name in ('block 0:', 'blocks 1, 3:', 'block 2:'):
        assert name in text


def test_schedules_by_block(run):
    flat = dict(type='ConstantLR', factor=1.0)
    half = dict(type='ConstantLR', factor=0.5, end=100)
    _, found = run({f'block{k}': half if k == 1 else flat for k in range(4)})
    assert [found[k][0][0] for k in range(4)] == pytest.approx([0.1, 0.05, 0.1, 0.1])


def test_momentum_is_scheduled_too(run):
    steps = dict(type='MultiStepMomentum', milestones=[10], gamma=0.5)
    _, found = run([steps])
    momenta = [momentum for _, momentum in found[3]]
    assert momenta == pytest.approx([0.9] * 50 + [0.45] * 50)


def test_no_scheduler_mixed_precision(run):
    changes = {'optim_wrapper.type': 'BlockAmpOptimWrapper', 'optim_wrapper.dtype': 'float16'}
    _, found = run(None, max_epochs=1, **changes)
    assert found[0] == [(0.1, 0.9)] * 5


def test_training_by_iterations(tmp_path):
    cfg = digits_config(tmp_path / 'small.py')
    cfg.train_cfg = dict(by_epoch=False, max_iters=30)
    cfg.param_scheduler = dict(type='PolyLR', power=1.0, by_epoch=False)
    rates = [rate for rate, _ in values(read_schedules(cfg, 5)[1], 30)[0]]
    # mmengine's reaches its end in the last iteration, not after it.
    assert rates == pytest.approx([0.1 * (1 - i / 29) for i in range(30)])


def test_the_length_of_an_epoch_is_counted(tmp_path):
    length, found = read_schedules(apis.load_config(DIGITS))
    # 1,438 images in batches of 64, the last one smaller.
    assert '460 iterations, 20 epochs of 23' in schedule_text(length, found)
    draw_schedules(tmp_path / 'a.png', length, found, 'digits')
    assert picture_size(tmp_path / 'a.png') == (960, 720)
    write_schedules(tmp_path / 'a.csv', found)
    lines = [line for line in csv_rows(tmp_path / 'a.csv') if line['block'] == '9']
    assert [(int(line['iteration']), float(line['lr'])) for line in lines] == [
        (start, rate) for start, rate, _ in found[0].points
    ]


@pytest.mark.parametrize(('epochs', 'ticks'), [(1, [0, 1]), (2, [0, 1, 2])])
def test_only_whole_epochs_are_at_the_top(tmp_path, monkeypatch, epochs, ticks):
    figures = []
    monkeypatch.setattr(schedules, 'save_png', lambda figure, path: figures.append(figure))
    points = [(0, 0.1, 0.9), (7, 0.05, 0.9)]
    length = schedules.TrainingLength(23 * epochs, 23, True)
    draw_schedules(tmp_path / 'a.png', length, [Schedule((0,), points)], 'a')
    figures[0].savefig(tmp_path / 'b.png')
    (top,) = figures[0].axes[0].child_axes
    low, high = top.get_xlim()
    assert [tick for tick in top.get_xticks() if low <= tick <= high] == ticks


def test_names_of_blocks():
    assert Schedule((3,), []).name == 'block 3'
    assert Schedule((0, 1, 2, 4, 6, 7), []).name == 'blocks 0 - 2, 4, 6 - 7'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'train_cfg.max_epochs': None}, 'train_cfg.max_epochs=None'),
        ({'optim_wrapper': None}, 'no optim_wrapper'),
        ({'train_dataloader': None}, 'no train_dataloader.*--epoch-length'),
        ({'param_scheduler.type': 'Absent'}, 'param_scheduler.*Absent'),
        ({'param_scheduler.ramp_epochs': -1}, 'ramp_epochs=-1'),
        ({'param_scheduler.gamma': 2}, 'param_scheduler.*gamma'),
        ({'model.splitter': None}, 'no model.splitter'),
    ],
)
def test_a_config_without_a_schedule(changes, message):
    with pytest.raises(UserError, match=message):
        read_schedules(apis.load_config(DIGITS, changes))
