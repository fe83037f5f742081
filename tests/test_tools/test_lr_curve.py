"""tools/visualization/lr_curve.py against formulas of schedules."""

import csv
import math

import pytest

from tests.helpers.look_inside import DIGITS, ROOT, assert_one_error, digits_config, picture_size
from tests.helpers.run_tool import call_tool

TOOL = 'visualization/lr_curve.py'
LENGTH = 5


@pytest.fixture
def run(tmp_path):
    """Write a config of 4 blocks with other schedules; returns values per block and iteration."""

    def call(scheduler, max_epochs=20, **changes):
        cfg = digits_config(tmp_path / 'small.py', **{'train_cfg.max_epochs': max_epochs})
        cfg.param_scheduler = scheduler
        cfg.merge_from_dict(changes)
        cfg.dump(tmp_path / 'small.py')
        places = ['--out', tmp_path / 'a.png', '--csv', tmp_path / 'a.csv']
        result = call_tool(TOOL, tmp_path / 'small.py', '--epoch-length', LENGTH, *places)
        assert result.code == 0, result.errors
        assert picture_size(tmp_path / 'a.png') == (960, 720)
        return result, values(tmp_path / 'a.csv', LENGTH * max_epochs)

    return call


def values(path, iterations):
    """By block, the (rate, momentum) of every iteration."""
    changes = {}
    with open(path, newline='') as file:
        for line in csv.DictReader(file):
            now = (float(line['lr']), float(line['momentum']))
            changes.setdefault(int(line['block']), {})[int(line['iteration'])] = now
    found = {}
    for block, points in changes.items():
        now, found[block] = None, []
        for i in range(iterations):
            now = points.get(i, now)
            found[block].append(now)
    return found


def ramp_cosine(epoch, base=0.1, ramp=2, start=0.01, total=20):
    """The schedule of the papers in epoch 1 .. total."""
    cosine = base / 2 * (1 + math.cos(math.pi * epoch / total))
    if epoch > ramp:
        return cosine
    return cosine * (epoch - 1) / ramp + start * (ramp + 1 - epoch) / ramp


def test_the_schedule_of_the_papers(run):
    result, found = run(dict(type='RampCosineLR', ramp_epochs=2, ramp_start=0.01))
    expected = [(ramp_cosine(1 + i // LENGTH), 0.9) for i in range(100)]
    assert list(found) == [0, 1, 2, 3]
    for block in found.values():
        assert block == [pytest.approx(pair, abs=1e-12) for pair in expected]
    assert '100 iterations, 20 epochs of 5' in result.out
    assert 'blocks 0 - 3: lr 0.01 at first' in result.out


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
    result, found = run(steps, **{'optim_wrapper.blocks': blocks})
    for block, (base, momentum) in enumerate([(0.5, 0.9), (0.1, 0.9), (0.1, 0.5), (0.1, 0.9)]):
        for i, now in enumerate(found[block]):
            assert now == pytest.approx((base * 0.1 ** ((i >= 20) + (i >= 40)), momentum))
    for name in ('block 0:', 'blocks 1, 3:', 'block 2:'):
        assert name in result.out


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
    cfg.dump(tmp_path / 'small.py')
    places = ['--out', tmp_path / 'a.png', '--csv', tmp_path / 'a.csv', '--epoch-length', 5]
    assert call_tool(TOOL, tmp_path / 'small.py', *places).code == 0
    rates = [rate for rate, _ in values(tmp_path / 'a.csv', 30)[0]]
    # mmengine's reaches its end in the last iteration, not after it.
    assert rates == pytest.approx([0.1 * (1 - i / 29) for i in range(30)])


def test_the_length_of_an_epoch_is_counted(tmp_path):
    result = call_tool(TOOL, DIGITS, '--out', tmp_path / 'a.png')
    assert result.code == 0, result.errors
    # 1,438 images in batches of 64, the last one smaller.
    assert '460 iterations, 20 epochs of 23' in result.out


def test_names_of_blocks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'visualization'))
    from lr_schedule import Schedule

    assert Schedule((3,), (), (), ()).name == 'block 3'
    assert Schedule((0, 1, 2, 4, 6, 7), (), (), ()).name == 'blocks 0 - 2, 4, 6 - 7'


@pytest.mark.parametrize(
    ('options', 'named'),
    [
        (['train_cfg.max_epochs=None'], ['train_cfg.max_epochs=None']),
        (['optim_wrapper=None'], ['no optim_wrapper']),
        (['train_dataloader=None'], ['no train_dataloader', '--epoch-length']),
        (['param_scheduler.type=Absent'], ['param_scheduler', 'Absent']),
        (['param_scheduler.ramp_epochs=-1'], ['ramp_epochs=-1']),
        (['param_scheduler.gamma=2'], ['param_scheduler', 'gamma']),
        (['optim_wrapper.blocks.10.optimizer.lr=1'], ['optim_wrapper.blocks', '10']),
        (['model.splitter=None'], ['no model.splitter']),
    ],
)
def test_bad_input_ends_in_one_error(tmp_path, options, named):
    result = call_tool(TOOL, DIGITS, '--out', tmp_path / 'a.png', '--cfg-options', *options)
    assert_one_error(result, *named)
    assert not (tmp_path / 'a.png').exists()
