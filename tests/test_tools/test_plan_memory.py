"""tools/analysis_tools/plan_memory.py against iterations that are really run."""

import csv
import io
import re
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mman.apis.memory_prediction import BlockMemory, MemoryReport
from mman.engine.hooks import MomentumUpdateHook
from mman.utils.live_bytes import LiveBytes
from tests.helpers.settings import build_model, model_cfg, random_batch
from tests.helpers.stand_in_runner import SGD, make_runner, step

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'tools' / 'analysis_tools'
BATCH, BUDGET = 32, 0.005
SMALL = 'configs/man/resnet20_k10_digits.py'
PARTS = ('parameters', 'gradients', 'optimizer', 'buffers', 'activations')
NAMES = [
    'BP',
    'BP, recompute block',
    'K = 4 (config)',
    'K = 4, recompute block',
    'K = 4, recompute all',
    'K = 3',
    'K = 5',
]


def small_config(**changes):
    """A config of the small model of the generic tests, with some keys replaced."""
    wrapper = dict(
        type='BlockOptimWrapper', constructor='BlockOptimWrapperConstructor', optimizer=SGD
    )
    loader = dict(batch_size=BATCH)
    return Config(dict(model=model_cfg(), optim_wrapper=wrapper, train_dataloader=loader) | changes)


def run_tool(*args):
    """Run the tool inside this process, from the root of the repository."""
    out, errors, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.chdir(ROOT)
        patch.syspath_prepend(str(FOLDER))
        patch.setattr(sys, 'argv', ['plan_memory.py', *map(str, args)])
        try:
            runpy.run_path(str(FOLDER / 'plan_memory.py'), run_name='__main__')
        except SystemExit as stop:
            code = stop.code
    return SimpleNamespace(code=code, out=out.getvalue(), errors=errors.getvalue())


def cells(line):
    return [cell.strip() for cell in line.strip('|').split('|')]


def markdown(text):
    """The tables of a Markdown text, each a list of dicts."""
    tables = []
    for block in re.findall(r'(?:^\|.*\n)+', text, re.M):
        names, _, *lines = map(cells, block.splitlines())
        tables.append([dict(zip(names, line, strict=True)) for line in lines])
    return tables


@pytest.fixture(scope='module')
def planned(tmp_path_factory):
    """One run with everything, its tables and the lines of its CSV."""
    folder = tmp_path_factory.mktemp('plan')
    small_config().dump(folder / 'small.py')
    places = ['--out', folder / 'plan.png', '--csv', folder / 'plan.csv']
    result = run_tool(folder / 'small.py', '--budget', BUDGET, '--measure', *places)
    assert result.code == 0, result.errors
    with open(folder / 'plan.csv', newline='') as file:
        lines = list(csv.DictReader(file))
    totals = {line['training']: line for line in lines if line['block'] == 'all'}
    rows, blocks = markdown(result.out)
    return SimpleNamespace(
        folder=folder, out=result.out, rows=rows, blocks=blocks, lines=lines, totals=totals
    )


@pytest.fixture
def tool(monkeypatch):
    """The modules beside the tool."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import memory_figure
    import memory_rows
    import memory_table

    return SimpleNamespace(figure=memory_figure, rows=memory_rows, table=memory_table)


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


def test_both_outputs_have_every_row(planned):
    assert [row['training'] for row in planned.rows] == list(planned.totals)
    *compared, chosen = planned.totals
    assert compared == NAMES
    assert re.fullmatch(rf'chosen for {BUDGET} GiB: K = \d+, recompute \w+', chosen)
    assert 'Predicted peak of a training iteration, batch size 32, in MiB:\n' in planned.out
    ks = [int(line['num_blocks']) for line in planned.totals.values()]
    assert ks[:-1] == [1, 1, 4, 4, 4, 3, 5]
    assert len(planned.lines) == len(ks) + sum(ks)


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


def test_kinds_sum_up_to_the_peak(planned):
    for line in planned.lines:
        assert sum(int(line[part]) for part in PARTS) == int(line['peak']), line
        assert int(line['activations']) > 0
    for name, total in planned.totals.items():
        blocks = [line for line in planned.lines if line['training'] == name][1:]
        assert [int(line['block']) for line in blocks] == list(range(len(blocks)))
        assert max(int(line['peak']) for line in blocks) == int(total['peak'])


def test_the_table_shows_the_bytes_of_the_csv(planned):
    bp = planned.totals['BP']
    for row, line in zip(planned.rows, planned.totals.values(), strict=True):
        for key in ('peak', *PARTS):
            assert row[key] == f'{int(line[key]) / 2**20:,.1f}'
        assert row['/ BP'] == f'{int(line["peak"]) / int(bp["peak"]):.3f}'
        assert row['FLOPs / BP'] == f'{int(line["flops"]) / int(bp["flops"]):.3f}'
    assert planned.rows[0]['FLOPs / BP'] == '1.000'
    # One more forward pass beside a forward and the two products of a backward.
    assert float(planned.rows[1]['FLOPs / BP']) == pytest.approx(4 / 3, abs=0.03)


def test_blocks_of_the_config(planned):
    ends = [line['end'] for line in planned.lines if line['training'] == 'K = 4 (config)'][1:]
    assert planned.blocks[-1]['last unit'] == ends[-1] == '3.2'
    assert [row['block'] for row in planned.blocks][0].startswith('0')
    peaks = [float(row['peak']) for row in planned.blocks]
    assert max(peaks) == float(planned.rows[2]['peak'])


def test_the_budget_marks_what_fits(planned):
    marks = [row[f'fits {BUDGET} GiB'] for row in planned.rows]
    peaks = [int(line['peak']) for line in planned.totals.values()]
    assert marks == ['yes' if peak <= BUDGET * 2**30 else 'no' for peak in peaks]
    assert marks == [line['fits'] for line in planned.totals.values()]
    assert {*marks} == {'yes', 'no'} and marks[-1] == 'yes'
    assert f'memory_budget of {BUDGET} GiB at batch' in planned.out


def test_measured_beside_predicted(planned):
    for row, line in zip(planned.rows, planned.totals.values(), strict=True):
        assert line['measured_by'] == 'live bytes, CPU'
        assert int(line['peak']) == pytest.approx(int(line['measured']), rel=0.05)
        assert row['measured (live bytes, CPU)'] == f'{int(line["measured"]) / 2**20:,.1f}'
        assert re.fullmatch(r'[+-]\d\.\d%', row['predicted - measured'])


def test_the_picture_opens(planned):
    with Image.open(planned.folder / 'plan.png') as picture:
        picture.load()
        assert picture.format == 'PNG' and picture.size == (1560, 660)


@pytest.mark.parametrize('option', ['--out', '--csv'])
def test_nothing_is_overwritten(planned, option):
    path = planned.folder / f'plan.{"png" if option == "--out" else "csv"}'
    before = path.read_bytes()
    result = run_tool(planned.folder / 'small.py', option, path)
    assert result.code == 2 and not result.out
    assert f'{str(path)!r} exists already' in result.errors.splitlines()[-1]
    assert path.read_bytes() == before


def recomputing(count):
    return [f'K = {count}, recompute {value}' for value in ('block', 'all')]


@pytest.mark.parametrize(
    ('model', 'names'),
    [
        (dict(num_blocks=4, strategy='memory'), NAMES),
        (
            dict(num_blocks=4, strategy='uniform', recompute='block'),
            [
                *('BP', 'BP, recompute block', 'K = 4, recompute block (config)'),
                *('K = 4, recompute all', 'K = 3, recompute block', 'K = 5, recompute block'),
            ],
        ),
        (dict(ends=['1.2', '3.2']), [*NAMES[:2], 'K = 2 (config)', *recomputing(2)]),
        (dict(num_blocks=9, stem='fused'), [*NAMES[:2], 'K = 9 (config)', *recomputing(9)]),
        (
            dict(num_blocks=1, strategy='uniform'),
            ['BP (config)', 'BP, recompute block', 'BP, recompute all', 'K = 2'],
        ),
    ],
)
def test_which_rows_there_are(tool, model, names):
    found = tool.rows.variants(small_config(model=model_cfg(**model)))
    assert [variant.name for variant in found] == names
    (own,) = [variant for variant in found if variant.is_config]
    assert own.name.endswith('(config)')


def test_neighbours_in_a_preset(tool):
    found = tool.rows.variants(Config.fromfile(ROOT / 'configs/man/resnet32_k8_cifar10.py'))
    assert [variant.name for variant in found][-2:] == ['K = 4', 'K = 15']


def test_a_row_that_cannot_be_had_is_told(tmp_path):
    model = model_cfg(num_blocks=1, strategy='uniform')
    del model['aux_head']
    small_config(model=model).dump(tmp_path / 'bp.py')
    result = run_tool(tmp_path / 'bp.py', '--batch', 2)
    assert result.code == 0, result.errors
    assert 'batch size 2,' in result.out and 'K = 2 |' not in result.out
    assert 'No row for K = 2: model.aux_head is missing' in result.out


def made_up_row(tool, count):
    """A row of ``count`` blocks that peak at 10 MiB and less."""
    blocks = tuple(BlockMemory((10 << 20) - k, 5, (10 << 20) - k - 11) for k in range(count))
    report = MemoryReport(1, 2, 3, blocks, 7, tuple(f'1.{k}' for k in range(count)))
    cfg = Config(dict(model=dict(recompute='none')))
    return tool.rows.Row(f'K = {count} (config)', cfg, True, report)


@pytest.mark.parametrize('count', [1, 55])
@pytest.mark.parametrize('budget', [None, 0.001, 0.01, 80.0])
def test_pictures_of_any_number_of_blocks(tool, tmp_path, count, budget):
    tool.figure.draw(tmp_path / 'a.png', [made_up_row(tool, count)], 'a', budget)
    with Image.open(tmp_path / 'a.png') as picture:
        assert picture.size == (1560, 660)


def test_what_a_gpu_measures(tool, monkeypatch):
    row = made_up_row(tool, 2)
    monkeypatch.setattr(tool.rows, 'measure_memory', lambda cfg, batch, device: 8 << 20)
    measured = tool.rows.measured_row(row, 4, 'cuda')

    def fail(*_):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(tool.rows, 'measure_memory', fail)
    too_large = tool.rows.measured_row(row, 4, 'cuda')
    (lines,) = markdown(tool.table.peak_table([measured, too_large], 4, None, 'cuda') + '\n')
    assert [line['measured (CUDA allocator)'] for line in lines] == ['8.0', 'out of memory']
    assert [line['predicted - measured'] for line in lines] == ['+25.0%', '-']
    # Without a row of BP there is nothing to relate to.
    assert [line['/ BP'] for line in lines] == ['-', '-']


@pytest.mark.parametrize(
    ('args', 'named'),
    [
        (['configs/_base_/datasets/digits.py'], ['model.splitter is missing']),
        (['absent.py'], ['absent.py', 'existing']),
        ([SMALL, '--batch', '1'], ['--batch', "'1'", 'from 2 on']),
        ([SMALL, '--batch', 'many'], ['--batch', "'many'"]),
        ([SMALL, '--budget', '0'], ['--budget', "'0'", 'GiB']),
        ([SMALL, '--budget', 'nan'], ['--budget', "'nan'"]),
        ([SMALL, '--out', 'plan.pdf'], ['--out', '.png']),
        (
            [SMALL, '--cfg-options', 'train_dataloader.batch_size=1'],
            ['train_dataloader.batch_size=1', '--batch'],
        ),
        ([SMALL, '--cfg-options', 'train_dataloader=None'], ['train_dataloader.batch_size=None']),
        ([SMALL, '--cfg-options', 'optim_wrapper=None'], ['optim_wrapper is missing']),
        ([SMALL, '--cfg-options', 'model.type=Absent'], ['Absent', 'registry']),
        ([SMALL, '--cfg-options', 'model.splitter.num_blocks=99'], ['num_blocks=99']),
        ([SMALL, '--cfg-options', 'model.recompute=some'], ["model.recompute='some'"]),
    ],
)
def test_bad_input_ends_in_one_error(args, named):
    result = run_tool(*args)
    assert result.code == 2 and not result.out.replace('Could not import OneDL', '').strip()
    assert 'Traceback' not in result.errors
    last = result.errors.strip().splitlines()[-1]
    assert 'plan_memory.py: error: ' in last
    for text in named:
        assert text in last
