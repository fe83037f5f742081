"""mman.analysis.comparison: the grid, costs, times, tables and pictures."""

import math
import signal
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mman.analysis.comparison import runs, times
from mman.analysis.comparison.compare import predict_cost
from mman.analysis.comparison.figure import draw_comparison
from mman.analysis.comparison.grid import check_comparable, host_of, make_grid, read_method
from mman.analysis.comparison.report import comparison_table, make_rows
from mman.analysis.timing import timed
from mman.apis.memory_prediction import BlockMemory, MemoryReport
from mman.apis.models import build_local_model
from mman.utils import UserError
from tests.helpers.look_inside import picture_size, small_config
from tests.helpers.settings import model_cfg, random_batch
from tests.helpers.stand_in_runner import make_runner, step
from tests.helpers.tables import cells

WAYS = ('', *(f'-accumulate{n}' for n in (2, 4, 8)), '-cpu', '-backward-step')
BASELINE_ROWS = [f'bp{way}{more}_k1' for way in WAYS for more in ('', '-checkpoint')]
DIGITS = 'configs/man/resnet20_k10_digits.py'


def candidates_of(cfg=None, **grid):
    return {one.name: one for one in make_grid(cfg or small_config(), **grid)[0]}


def test_a_method_may_have_a_rate_of_its_own():
    rate = {'optim_wrapper.optimizer.lr': 0.25}
    methods = [dict(name='mine', base='greedy', recipe=rate), 'dgl']
    rows = candidates_of(small_config(comparison=dict(methods=methods)))
    plain = rows['dgl_k4'].cfg.to_dict()['optim_wrapper']
    assert rows['bp_k1'].cfg.to_dict()['optim_wrapper'] == plain
    mine = rows['mine_k4'].cfg.to_dict()['optim_wrapper']
    assert mine == dict(plain, optimizer=dict(plain['optimizer'], lr=0.25))
    for wrong in ({'model.backbone.depth': 8}, 0.1):
        with pytest.raises(UserError, match="recipe=.* of 'mine' should be a dict of dotted keys"):
            read_method(dict(name='mine', base='greedy', recipe=wrong))


def test_methods_replace_the_head_and_hooks_and_nothing_else():
    own = dict(type='EMAHook')
    cfg = small_config(custom_hooks=[dict(type='mman.MomentumUpdateHook', decay=0.5), own])
    before = cfg.to_dict()
    rows = candidates_of(cfg, methods=['greedy', 'man_auglocal'], num_blocks=[4, 5])
    assert cfg.to_dict() == before
    assert list(rows) == [
        *BASELINE_ROWS,
        *('greedy_k4', 'greedy_k5'),
        *('man_auglocal_k4', 'man_auglocal_k5'),
    ]
    greedy, man = rows['greedy_k5'].cfg.to_dict(), rows['man_auglocal_k4'].cfg.to_dict()
    # Nothing of the config's own MAN is left.
    assert greedy['model']['aux_head'] == dict(type='LinearAuxHead')
    assert greedy['custom_hooks'] == [own]
    assert man['custom_hooks'] == [own, dict(type='MomentumUpdateHook', decay=0.995)]
    assert man['model']['aux_head']['host']['type'] == 'AugLocalAuxHead'
    for name in BASELINE_ROWS:
        plain = rows[name].cfg
        assert 'aux_head' not in plain.model and plain.custom_hooks == [own]
        assert plain.model.splitter == dict(type='LocalBlockSplitter', num_blocks=1)
    assert rows['bp_k1'].cfg.model.recompute == 'none'
    assert rows['bp-checkpoint_k1'].cfg.model.recompute == 'block'
    # The split is the config's, not AugLocal's; network, data and recipe are the config's.
    for row, k in ((greedy, 5), (man, 4)):
        assert row['model']['splitter'] == dict(before['model']['splitter'], num_blocks=k)
        shared = {key: row[key] for key in before if key not in ('model', 'custom_hooks')}
        assert shared == {key: before[key] for key in shared} and len(shared) == 6
        for key in ('backbone', 'input_shape', 'neck', 'head', 'data_preprocessor'):
            assert row['model'][key] == before['model'][key]


def test_every_momentum_head_has_its_host_among_the_defaults():
    rows = list(candidates_of(Config.fromfile(DIGITS), num_blocks=[4, 8]).values())
    found = {row.name: host for row in rows if (host := host_of(rows, row)) is not None}
    kinds = {'': 'infopro', '_dgl': 'dgl-manpp', '_predsim': 'predsim', '_auglocal': 'auglocal'}
    assert found == {
        f'{momentum}{kind}_k{k}': f'{host}_k{k}'
        for momentum in ('man', 'manpp')
        for kind, host in kinds.items()
        for k in (4, 8)
    }


@pytest.mark.parametrize('name', ['digits_resnet20', 'cifar10_resnet32'])
def test_the_comparisons_of_the_repository(name):
    """Every momentum head is beside its host, and what is not from a base file can be built."""
    cfg = Config.fromfile(f'benchmarks/comparisons/{name}.py')
    check_comparable(cfg)
    rows, _ = make_grid(cfg)
    assert sum(host_of(rows, row) is not None for row in rows) == 8
    built = [build_local_model(row.cfg) for row in rows if row.method in ('bp', 'infopro', 'man')]
    assert [model.num_blocks for model in built] == [1, 8, 8]


def test_the_command_line_comes_before_the_config():
    section = dict(methods=[dict(name='a', base='greedy'), 'dgl'], num_blocks=[3], seeds=[7, 8])
    cfg = small_config(comparison=section)
    rows, seeds = make_grid(cfg)
    assert [row.name for row in rows][12:] == ['a_k3', 'dgl_k3'] and seeds == [7, 8]
    assert all('comparison' not in row.cfg for row in rows)
    rows, seeds = make_grid(cfg, ['a', 'predsim'], [2, 5], [1])
    assert [row.name for row in rows][12:] == ['a_k2', 'a_k5', 'predsim_k2', 'predsim_k5']
    assert seeds == [1] and len(runs.make_runs(rows, [1], None)) == 5
    # Without either: K of the splitter, the seed 0.
    rows, seeds = make_grid(small_config(), ['greedy'])
    assert rows[-1].name == 'greedy_k4' and seeds == [0]


def test_other_keys_of_a_head_are_merged_into_its_base():
    spec = dict(name='b', base='man', aux_head=dict(mix='scaled', host=dict(task_weight=2.0)))
    head = read_method(spec).model['aux_head']
    assert head['mix'] == 'scaled' and head['host']['task_weight'] == 2.0
    assert head['host']['reconstruction_weight'] == 5.0 and head['host']['net'] == '2c2f'


@pytest.mark.parametrize(
    ('grid', 'changes', 'message'),
    [
        (dict(methods=['gredy']), {}, "'gredy' should be .* auglocal, dgl"),
        (dict(methods=['absent.py']), {}, "'absent.py' should be an existing"),
        (dict(methods=['cifar_resnet']), {}, 'has no model.aux_head'),
        (dict(methods=['greedy', 'greedy']), {}, "methods has 'greedy' more than once"),
        (dict(methods=['bp-cpu']), {}, "'bp-cpu', which is a row of every comparison"),
        (dict(num_blocks=[1]), {}, 'num_blocks=1 should be an integer from 2'),
        (dict(seeds=[1, 1]), {}, 'seeds has 1 more than once'),
        ({}, dict(comparison=dict(method=['greedy'])), 'comparison.method is unknown'),
        ({}, dict(comparison=dict(seeds=3)), 'comparison.seeds=3 should be a list'),
        ({}, dict(comparison=dict(methods=[dict(name='a')])), 'a name, a path, or a dict'),
        (
            {},
            dict(comparison=dict(methods=[dict(name='a/b', base='dgl')])),
            "name 'a/b'; letters",
        ),
        (dict(num_blocks=[3]), dict(model=model_cfg(ends=['1.2', '3.2'])), 'ends, which are 2'),
        ({}, dict(model=model_cfg(num_blocks=1)), 'num_blocks=1 should be'),
        ({}, dict(model=dict(type='ImageClassifier')), 'model.splitter is missing'),
    ],
)
def test_a_grid_that_cannot_be_is_named(grid, changes, message):
    with pytest.raises(UserError, match=message):
        make_grid(small_config(**changes), **grid)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(test_dataloader=None), 'test_dataloader is None'),
        (dict(train_dataloader=dict(batch_size=1)), 'batch_size=1 should be'),
        (dict(test_evaluator=dict(type='Accuracy', topk=(5,))), 'Accuracy with 1 in topk'),
        (dict(test_evaluator=[dict(type='AveragePrecision')]), 'Accuracy with 1 in topk'),
        (dict(memory_budget=dict(gib=1)), 'memory_budget=.* would choose K'),
    ],
)
def test_a_config_without_what_runs_need_is_refused(changes, message):
    check_comparable(small_config())
    with pytest.raises(UserError, match=message):
        check_comparable(small_config(**changes))


def test_a_row_that_cannot_be_built_is_named():
    row = candidates_of(methods=['greedy'], num_blocks=[99])['greedy_k99']
    with pytest.raises(UserError, match='greedy_k99 cannot be trained: .*num_blocks=99'):
        predict_cost(row, 8)


def test_rows_that_are_not_trained_have_the_weights_of_bp():
    """All bits are the same after real steps."""
    rows = candidates_of(methods=['greedy'])
    names = [name for name in BASELINE_ROWS if rows[name].trained_as == 'bp_k1']
    assert len(names) == 6 and rows['greedy_k4'].trained_as == 'greedy_k4'
    assert [rows[name].trained_as for name in BASELINE_ROWS if name not in names] == [None] * 6
    weights = []
    for name in names:
        torch.manual_seed(0)
        model = build_local_model(rows[name].cfg)
        model.init_weights()
        runner = make_runner(model, type=rows[name].cfg.optim_wrapper.type)
        start = model.state_dict()['backbone.conv1.weight'].clone()
        for seed in range(4):
            step(runner, random_batch(seed=seed))
        weights.append(model.state_dict())
        assert not torch.equal(start, weights[-1]['backbone.conv1.weight'])
    for others in weights[1:]:
        for key, value in weights[0].items():
            assert torch.equal(value, others[key]), key
    costs = [predict_cost(rows[name], 64) for name in ('bp_k1', 'bp-checkpoint_k1')]
    assert costs[1].peak < 0.7 * costs[0].peak and costs[1].flops > costs[0].flops


@pytest.mark.full
def test_parameters_are_those_while_training():
    rows = candidates_of(methods=['greedy', 'man'])
    man = build_local_model(rows['man_k4'].cfg)
    frozen = sum(p.numel() for p in man.parameters() if not p.requires_grad)
    heads = sum(p.numel() for p in man.aux_heads.parameters())

    def parameters(name):
        costs = {one: predict_cost(rows[one], 4) for one in {name, 'bp_k1'}}
        found = make_rows([rows[one] for one in costs], {}, costs, {})
        return found[list(costs).index(name)]['parameters']

    plain = parameters('bp_k1')
    assert parameters('man_k4') == plain + heads
    assert heads > frozen > 0
    # Linear layers for 10 classes on the 8, 16 and 32 channels of three blocks.
    expected = plain + 10 * (8 + 16 + 32 + 3)
    assert parameters('greedy_k4') == expected


def test_an_iteration_that_is_timed_trains_and_updates_momentum():
    row = candidates_of(methods=['man'])['man_k4']
    trainer = times.training(row, 4, torch.device('cpu'))
    model = trainer.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert timed(trainer.step, torch.device('cpu')) > 0
    trainer.step()
    assert [int(head.num_updates) for head in model.aux_heads] == [2, 2, 2]
    for name, parameter in model.named_parameters():
        if name.endswith('conv1.weight') and not name.startswith('aux_heads'):
            assert not torch.equal(before[name], parameter), name


class TurnTaker:
    """In place of a training: notes whose turn it was."""

    turns: list = []

    def __init__(self, row, batch_size, device):
        self.name = row.name

    def step(self):
        self.turns.append(self.name)


def test_rows_take_turns(monkeypatch, tmp_path):
    monkeypatch.setattr(times, 'training', TurnTaker)
    monkeypatch.setattr(times, 'WARM_UP', 0)
    monkeypatch.setattr(TurnTaker, 'turns', [])
    monkeypatch.setattr(times, 'timed', lambda work, device: (work(), len(TurnTaker.turns))[1])
    rows = [SimpleNamespace(name=name, parts=1) for name in 'abc']
    path = tmp_path / 'times.json'

    def kept(rows, rounds):
        return times.kept_times(path, rows, 4, rounds, lambda line: None)

    found = kept(rows, 3)
    assert ''.join(TurnTaker.turns) == 'abc' + 'bca' + 'cab'
    assert found == dict(a=[1, 6, 8], b=[2, 4, 9], c=[3, 5, 7])
    # They are kept, and measured anew, all of them side by side, once one is missing.
    assert kept(rows[:2], 3) == found and len(TurnTaker.turns) == 9
    kept([*rows, SimpleNamespace(name='d', parts=1)], 3)
    assert len(TurnTaker.turns) == 21
    kept(rows, 2)
    assert len(TurnTaker.turns) == 27
    monkeypatch.setattr(times, 'device_name', lambda: 'another')
    kept(rows, 2)
    assert len(TurnTaker.turns) == 33


def made_up(errors, seconds=None):
    """BP, its checkpointing, greedy and MAN on greedy, and rows of them with given errors."""
    names = ('bp_k1', 'bp-checkpoint_k1', 'greedy_k4', 'man_greedy_k4')
    host = dict(_delete_=True, type='LinearAuxHead')
    man = dict(name='man_greedy', base='man', aux_head=dict(host=host))
    found = candidates_of(small_config(comparison=dict(methods=['greedy', man])))
    found = {name: found[name] for name in names}
    costs = {
        name: MemoryReport(
            *(4 * 1234 * (k + 1), 0, 0, (BlockMemory(2**20 * (10 - k), 0, 0),)),
            *(10**9 * (k + 1), ('3.2',)),
        )
        for k, name in enumerate(names)
    }
    candidates = list(found.values())
    return candidates, make_rows(candidates, errors, costs, seconds or {})


def test_the_table_and_its_values_by_hand():
    errors = {
        'bp_k1': {0: 1.0, 1: 5.0},
        'greedy_k4': {0: 2.0, 1: 4.0},
        'man_greedy_k4': {1: 4.5},
    }
    seconds = {
        'bp_k1': [0.1, 0.4, 0.2],
        'bp-checkpoint_k1': [0.15, 0.6, 0.2],
        'greedy_k4': [0.3, 0.4, 0.1],
        'man_greedy_k4': [0.2, 1.6, 0.7],
    }
    _, found = made_up(errors, seconds)
    bp, checkpoint, greedy, man = cells(comparison_table(found, 2))
    assert bp['top-1 error, %'] == '3.00 ± 2.83'
    assert checkpoint['top-1 error, %'] == '3.00 ± 2.83 (of BP)'
    assert greedy['top-1 error, %'] == '3.00 ± 1.41'
    assert man['top-1 error, %'] == '4.50 (1 of 2 seeds)'
    # By seed: +1 and -1 against BP. Only the seed 1 is there to be paired with MAN.
    rows = (bp, checkpoint, greedy, man)
    assert [row['- BP'] for row in rows] == ['', '', '+0.00 ± 1.41', '-0.50']
    assert [row['- host'] for row in rows] == ['', '', '', '+0.50']
    # By round: 3, 1 and 0.5 for greedy, whose median time is 1.5 times that of BP.
    assert [row['time / BP'] for row in rows] == ['1.00', '1.50', '1.00', '3.50']
    assert (greedy['peak, MiB'], greedy['peak / BP']) == ('8.0', '0.800')
    sizes = [greedy[name] for name in ('parameters', 'multiply-adds, G', 'multiply-adds / BP')]
    # Half of 3e9 operations.
    assert sizes == ['3,702', '1.50', '3.000']
    # In full precision, as the CSV has them.
    assert found[0]['error_std'] == pytest.approx(math.sqrt(8), abs=1e-12)
    assert found[2]['minus_bp_std'] == pytest.approx(math.sqrt(2), abs=1e-12)
    assert [row['error_of'] for row in found[1:3]] == ['bp_k1', 'greedy_k4']
    assert found[3]['seconds_per_iteration'] == 0.7
    assert found[3]['error_std'] is None and found[3]['minus_host_mean'] == 0.5
    assert found[2]['peak_bytes'] == 8 * 2**20
    assert found[3]['time_over_bp'] == pytest.approx(3.5)


def test_costs_of_a_batch_in_parts_and_of_tensors_on_the_host():
    found = candidates_of(methods=['greedy'])
    names = ('bp_k1', 'bp-accumulate4_k1', 'bp-cpu_k1')
    costs = {
        name: MemoryReport(0, 0, 0, (BlockMemory(peak << 20, 0, 0, host << 20),), flops, ('3.2',))
        for name, peak, host, flops in zip(names, (10, 4, 2), (0, 0, 12), (80, 20, 80), strict=True)
    }
    rows = make_rows([found[name] for name in names], {'bp_k1': {0: 1.0}}, costs, {})
    bp, accumulated, cpu = cells(comparison_table(rows, 1))
    assert [row['peak / BP'] for row in (bp, accumulated, cpu)] == ['1.000', '0.400', '1.400']
    assert (cpu['peak, MiB'], cpu['host, MiB']) == ('2.0', '12.0')
    assert [row['multiply-adds / BP'] for row in (bp, accumulated, cpu)] == ['1.000'] * 3
    errors = [row['top-1 error, %'] for row in (bp, accumulated, cpu)]
    assert errors == ['1.00', '-', '1.00 (of BP)']


def test_a_row_without_runs_is_marked():
    rows = cells(comparison_table(made_up({'greedy_k4': {0: 2.0}})[1], 1))
    assert [row['top-1 error, %'] for row in rows] == ['failed', 'failed', '2.00', 'failed']
    assert [row['- BP'] for row in rows] == ['', '', '', '']
    assert 'time / BP' not in rows[0]


@pytest.mark.parametrize(
    'errors',
    [{}, {'bp_k1': {0: 1.0}}, {name: {0: 1.0, 1: 1.0} for name in ('bp_k1', 'greedy_k4')}],
)
def test_pictures_open(tmp_path, errors):
    found, rows = made_up(errors)
    draw_comparison(tmp_path / 'a.png', found, rows, 'a')
    assert picture_size(tmp_path / 'a.png') == (1350, 900)
    rows[0]['seconds_per_iteration'] = 0.5
    draw_comparison(tmp_path / 'a.png', found, rows, 'a')
    assert picture_size(tmp_path / 'a.png') == (1950, 900)


def test_trainings_end_with_who_looks_after_them(tmp_path, monkeypatch):
    program = tmp_path / 'stand_in.py'
    program.write_text('import sys, time\nif "greedy" in sys.argv[1]: time.sleep(60)')
    monkeypatch.setattr(runs, 'PROGRAM', [program])
    started, start = [], runs._start
    monkeypatch.setattr(runs, '_start', lambda run: started.append(start(run)) or started[-1])
    both = runs.make_runs(*make_grid(small_config(), ['greedy']), tmp_path)
    training = runs.train_all(both, 2)
    run, code = next(training)
    assert run.name == 'bp_k1_seed0' and code == 0 and started[1].poll() is None
    training.close()
    assert started[1].wait(timeout=10) == -signal.SIGTERM
