"""mman.analysis.memory_plan against iterations that are really run."""

import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mman.analysis import memory_plan
from mman.analysis.memory_plan import MemoryOverview, Variant, plan_memory, variants
from mman.analysis.memory_report import draw_memory, memory_text, peak_table, write_memory
from mman.apis.memory_prediction import BlockMemory, MemoryReport
from mman.engine.hooks import MomentumUpdateHook
from mman.utils import UserError
from mman.utils.live_bytes import LiveBytes
from tests.helpers.look_inside import picture_size, small_config
from tests.helpers.settings import build_model, model_cfg, random_batch
from tests.helpers.stand_in_runner import make_runner, step
from tests.helpers.tables import cells, csv_rows

BATCH, BUDGET = 32, 0.005
PARTS = ('parameters', 'gradients', 'optimizer', 'buffers', 'activations')
WAYS = [
    'BP',
    *(f'BP, batch in {n} parts' for n in (2, 4, 8)),
    'BP, saved tensors on the CPU',
    'BP, steps in the backward pass',
]
BP = [name + suffix for name in WAYS for suffix in ('', ', recompute block')]
NAMES = [
    *BP,
    'K = 4 (config)',
    'K = 4, recompute block',
    'K = 4, recompute all',
    'K = 3',
    'K = 5',
]


@pytest.fixture(scope='module')
def planned(tmp_path_factory):
    """A plan with everything, its tables and the lines of its CSV."""
    folder = tmp_path_factory.mktemp('plan')
    limits = dict(gib=1, num_blocks=[3], recompute=['all'])
    overview = plan_memory(small_config(memory_budget=limits), budget=BUDGET, measure=True)
    text = memory_text(overview)
    write_memory(folder / 'plan.csv', overview)
    lines = csv_rows(folder / 'plan.csv')
    totals = {line['training']: line for line in lines if line['block'] == 'all'}
    rows, blocks = map(cells, text.split('Peak by block of'))
    return SimpleNamespace(out=text, rows=rows, blocks=blocks, lines=lines, totals=totals)


def live_bytes(**kwargs):
    """Peak of the second iteration of a small model, counted by hand."""
    model = build_model(**kwargs)
    data = random_batch(BATCH)
    data['inputs'] = data['inputs'].byte()
    runner = make_runner(model, [MomentumUpdateHook()] if model.num_blocks > 1 else [])
    step(runner, data)
    existing = [*model.state_dict().values(), data['inputs']]
    for wrapper in runner.optim_wrapper.values():
        for state in wrapper.optimizer.state.values():
            existing += [value for value in state.values() if isinstance(value, torch.Tensor)]
    with LiveBytes(existing) as live:
        step(runner, data)
    return live.peak


@pytest.mark.full
def test_both_outputs_have_every_row(planned):
    assert [row['training'] for row in planned.rows] == list(planned.totals)
    *compared, chosen = planned.totals
    assert compared == NAMES
    assert chosen == f'chosen for {BUDGET} GiB: K = 3, recompute all'
    assert 'Predicted peak of a training iteration, batch size 32, in MiB:\n' in planned.out
    assert f'Of all splits that fit: memory_budget of {BUDGET} GiB at batch' in planned.out
    ks = [int(line['num_blocks']) for line in planned.totals.values()]
    assert ks[:-1] == [1] * 12 + [4, 4, 4, 3, 5]
    parts = [int(line['parts']) for line in planned.totals.values()]
    assert parts == [1, 1, 2, 2, 4, 4, 8, 8] + [1] * 10
    assert len(planned.lines) == len(ks) + sum(ks)


@pytest.mark.full
@pytest.mark.parametrize(
    ('name', 'kwargs'),
    [
        ('BP', dict(num_blocks=1)),
        ('BP, recompute block', dict(num_blocks=1, recompute='block')),
        ('K = 4 (config)', dict()),
        ('K = 4, recompute all', dict(recompute='all')),
    ],
)
def test_predictions_are_what_an_iteration_takes(planned, name, kwargs):
    assert int(planned.totals[name]['peak']) == pytest.approx(live_bytes(**kwargs), rel=0.05)


def adds(line):
    return int(line['multiply_adds'])


@pytest.mark.full
def test_the_bytes_of_the_csv_and_of_the_table(planned):
    for line in planned.lines:
        assert sum(int(line[part]) for part in PARTS) == int(line['peak']), line
        assert int(line['activations']) > 0
    bp = planned.totals['BP']
    for row, line in zip(planned.rows, planned.totals.values(), strict=True):
        name, peak = row['training'], int(line['peak'])
        blocks = [one for one in planned.lines if one['training'] == name][1:]
        assert [int(one['block']) for one in blocks] == list(range(len(blocks)))
        assert max(int(one['peak']) for one in blocks) == peak
        for key in ('peak', 'host', *PARTS):
            assert row[key] == f'{int(line[key]) / 2**20:,.1f}'
        assert row['/ BP'] == f'{(peak + int(line["host"])) / int(bp["peak"]):.3f}'
        assert (int(line['host']) > 0) == ('on the CPU' in name)
        assert row['multiply-adds / BP'] == f'{adds(line) / adds(bp):.3f}'
        fits = 'yes' if peak <= BUDGET * 2**30 else 'no'
        assert row[f'fits {BUDGET} GiB'] == line['fits'] == fits
        assert line['measured_by'] == 'live bytes, CPU'
        assert peak == pytest.approx(int(line['measured']), rel=0.05)
        assert row['measured (live bytes, CPU)'] == f'{int(line["measured"]) / 2**20:,.1f}'
        assert re.fullmatch(r'[+-]\d\.\d%', row['predicted - measured'])
    # One more forward pass beside a forward and the two products of a backward.
    assert float(planned.rows[1]['multiply-adds / BP']) == pytest.approx(4 / 3, abs=0.03)
    marks = [line['fits'] for line in planned.totals.values()]
    assert {*marks} == {'yes', 'no'} and marks[-1] == 'yes'


@pytest.mark.full
def test_blocks_of_the_config(planned):
    ends = [line['end'] for line in planned.lines if line['training'] == 'K = 4 (config)'][1:]
    assert planned.blocks[-1]['last unit'] == ends[-1] == '3.2'
    assert planned.blocks[0]['block'].startswith('0')
    (own,) = [row for row in planned.rows if row['training'].endswith('(config)')]
    assert max(float(row['peak']) for row in planned.blocks) == float(own['peak'])


@pytest.mark.full
def test_cheap_ways_of_backpropagation(planned):
    peaks = {name: int(line['peak']) for name, line in planned.totals.items()}
    flops = {name: int(line['multiply_adds']) for name, line in planned.totals.items()}
    for suffix in ('', ', recompute block'):
        names = [name + suffix for name in WAYS]
        assert [*map(peaks.get, names[:4])] == sorted(map(peaks.get, names[:4]), reverse=True)
        assert peaks[names[4]] < peaks[names[0]] and peaks[names[5]] <= peaks[names[0]]
        # The same products, whenever they are computed.
        assert {flops[name] for name in names} == {flops[names[0]]}
    assert 'BatchNorm sees one part at a time' in planned.out


def recomputing(count):
    return [f'K = {count}, recompute {value}' for value in ('block', 'all')]


@pytest.mark.parametrize(
    ('model', 'names'),
    [
        (dict(num_blocks=4, strategy='memory'), NAMES),
        (
            dict(num_blocks=4, strategy='uniform', recompute='block'),
            [
                *(*BP, 'K = 4, recompute block (config)'),
                *('K = 4, recompute all', 'K = 3, recompute block', 'K = 5, recompute block'),
            ],
        ),
        (dict(ends=['1.2', '3.2']), [*BP, 'K = 2 (config)', *recomputing(2)]),
        (dict(num_blocks=9, stem='fused'), [*BP, 'K = 9 (config)', *recomputing(9)]),
        (
            dict(num_blocks=1, strategy='uniform'),
            ['BP (config)', *BP[1:], 'BP, recompute all', 'K = 2'],
        ),
    ],
)
def test_which_rows_there_are(model, names):
    found = variants(small_config(model=model_cfg(**model)))
    assert [variant.name for variant in found] == names
    (own,) = [variant for variant in found if variant.is_config]
    assert own.name.endswith('(config)')


def test_neighbours_in_a_preset():
    found = variants(Config.fromfile('configs/man/resnet32_k8_cifar10.py'))
    assert [variant.name for variant in found][-2:] == ['K = 4', 'K = 15']


def test_a_row_that_cannot_be_had_is_told():
    model = model_cfg(num_blocks=1, strategy='uniform')
    del model['aux_head']
    overview = plan_memory(small_config(model=model), batch_size=2)
    assert overview.batch_size == 2 and 'K = 2' not in [row.name for row in overview.rows]
    *others, note = overview.notes
    assert others == [
        f'No row for BP, batch in {n} parts{suffix}: a batch of 2 has no {n} equal parts of two '
        'images or more'
        for n in (2, 4, 8)
        for suffix in ('', ', recompute block')
    ]
    assert note.startswith('No row for K = 2: model.aux_head is missing')
    assert memory_text(overview).endswith(note)


def made_up(count, budget=None):
    """An overview of one row of ``count`` blocks that peak at 10 MiB and less."""
    blocks = tuple(BlockMemory((10 << 20) - k, 5, (10 << 20) - k - 11) for k in range(count))
    report = MemoryReport(1, 2, 3, blocks, 7, tuple(f'1.{k}' for k in range(count)))
    cfg = Config(dict(model=dict(recompute='none')))
    row = Variant(f'K = {count} (config)', cfg, True, report)
    return MemoryOverview([row], 4, budget, None, [])


@pytest.mark.parametrize(('count', 'budget'), [(1, None), (55, 0.01), (55, 80.0)])
def test_pictures_of_any_number_of_blocks(tmp_path, count, budget):
    draw_memory(tmp_path / 'a.png', made_up(count, budget), 'a')
    assert picture_size(tmp_path / 'a.png') == (1560, 660)


def test_what_a_gpu_measures(monkeypatch):
    (row,) = made_up(2).rows
    monkeypatch.setattr(memory_plan, 'measure_memory', lambda cfg, batch, device: 8 << 20)
    measured = memory_plan.measured(row, 4, 'cuda')

    def fail(*_):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(memory_plan, 'measure_memory', fail)
    too_large = memory_plan.measured(row, 4, 'cuda')
    lines = cells(peak_table(MemoryOverview([measured, too_large], 4, None, 'cuda', [])))
    assert [line['measured (CUDA allocator)'] for line in lines] == ['8.0', 'out of memory']
    assert [line['predicted - measured'] for line in lines] == ['+25.0%', '-']
    # Without a row of BP there is nothing to relate to.
    assert [line['/ BP'] for line in lines] == ['-', '-']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(model=dict(type='ImageClassifier')), 'has no model.splitter'),
        (dict(train_dataloader=dict(batch_size=1)), 'train_dataloader.batch_size=1 .*--batch'),
        (dict(train_dataloader=None), 'train_dataloader.batch_size=None'),
        (dict(optim_wrapper=None), 'optim_wrapper is missing'),
        (dict(model=model_cfg() | dict(type='Absent')), 'model=.*Absent.*registry'),
        (dict(model=model_cfg(num_blocks=99)), 'num_blocks=99'),
    ],
)
def test_a_config_that_cannot_be_planned_is_named(changes, message):
    with pytest.raises(UserError, match=message):
        plan_memory(small_config(**changes))
