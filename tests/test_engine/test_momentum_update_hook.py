import copy
import math

import pytest
import torch

from mman.engine.hooks import MomentumUpdateHook
from tests.helpers.settings import build_model, random_batch
from tests.helpers.stand_in_runner import make_runner, step

DECAY = 0.9


def momentum_units(model):
    """Parameters of the momentum units, by head."""
    return [[p.clone() for p in head.momentum_unit.parameters()] for head in model.aux_heads]


def sources(model):
    """Parameters of the first unit of every block after the first; uniform cuts of ResNet-20."""
    layer = model.backbone
    firsts = [layer.layer2[0], layer.layer2[2], layer.layer3[1]]
    assert [unit[0].name for unit in model.block_units] == ['stem', '2.0', '2.2', '3.1']
    return [[p.detach().clone() for p in unit.parameters()] for unit in firsts]


def averaged(averages, new, decay):
    """The formula, tensor by tensor."""
    return [
        [a * decay + p * (1 - decay) for a, p in zip(old, source, strict=True)]
        for old, source in zip(averages, new, strict=True)
    ]


def assert_equal(found, expected):
    for k, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        for p, q in zip(ours, theirs, strict=True):
            assert torch.equal(p, q), k


def counters(model):
    return [int(head.num_updates) for head in model.aux_heads]


@pytest.mark.parametrize(('method', 'timing'), [('manpp-greedy', 'post_step'), ('man', 'pre_step')])
def test_every_iteration_averages(method, timing):
    model = build_model(method)
    runner = make_runner(model, [MomentumUpdateHook(DECAY, timing)])
    expected = momentum_units(model)
    assert_equal(expected, sources(model))
    for i in range(4):
        before = sources(model)
        step(runner, random_batch(seed=i))
        after = sources(model)
        assert not torch.equal(before[0][0], after[0][0])
        expected = averaged(expected, after if timing == 'post_step' else before, DECAY)
        assert_equal(momentum_units(model), expected)
        assert counters(model) == [i + 1] * 3


@pytest.mark.parametrize('timing', ['post_step', 'pre_step'])
def test_under_accumulation_only_real_steps_count(timing):
    model = build_model('man-dgl')
    hook = MomentumUpdateHook(DECAY, timing)
    runner = make_runner(model, [hook], max_iters=5, accumulative_counts=2)
    expected = momentum_units(model)
    done = 0
    for i in range(5):
        before = sources(model)
        step(runner, random_batch(seed=i))
        # Iterations 2 and 4, and the fifth, which is the last.
        if i in (1, 3, 4):
            new = sources(model) if timing == 'post_step' else before
            expected = averaged(expected, new, DECAY)
            done += 1
        assert_equal(momentum_units(model), expected)
        assert counters(model) == [done] * 3


def test_running_statistics_are_not_averaged():
    model = build_model('manpp-greedy')
    runner = make_runner(model, [MomentumUpdateHook(DECAY)])
    step(runner, random_batch())
    head, block = model.aux_heads[0], model.local_blocks[1]
    buffers = {k: v.clone() for k, v in head.momentum_unit.named_buffers()}
    assert buffers['bn1.num_batches_tracked'] == 1
    block.first_unit.bn1.running_mean.fill_(1e3)
    runner.hooks[0].after_train_iter(runner)
    for key, value in head.momentum_unit.named_buffers():
        assert torch.equal(value, buffers[key]), key


@pytest.mark.parametrize(
    ('schedule', 'weights'),
    [
        # 0.5 to 0.9 over five iterations.
        ('linear', [0.5, 0.6, 0.7, 0.8, 0.9]),
        (
            'cosine',
            [0.5, 0.7 - 0.2 * math.sqrt(0.5), 0.7, 0.7 + 0.2 * math.sqrt(0.5), 0.9],
        ),
    ],
)
def test_the_decay_may_change(schedule, weights):
    model = build_model('manpp-greedy')
    hook = MomentumUpdateHook(0.5, end_decay=0.9, schedule=schedule)
    runner = make_runner(model, [hook], max_iters=5)
    expected = momentum_units(model)
    for i, weight in enumerate(weights):
        assert hook.current_decay(runner) == pytest.approx(weight, abs=1e-12)
        step(runner, random_batch(seed=i))
        expected = averaged(expected, sources(model), weight)
        for ours, theirs in zip(momentum_units(model), expected, strict=True):
            for p, q in zip(ours, theirs, strict=True):
                torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)
    # A loop that goes on keeps the last one.
    assert hook.current_decay(runner) == pytest.approx(0.9)


def test_a_training_of_one_iteration_has_a_decay():
    runner = make_runner(build_model('manpp-greedy'), max_iters=1)
    assert MomentumUpdateHook(0.5, end_decay=0.9).current_decay(runner) == 0.5
    assert MomentumUpdateHook(0.5).current_decay(runner) == 0.5


def test_a_trained_model_goes_on_where_it_was():
    model = build_model('man')
    runner = make_runner(model, [MomentumUpdateHook(DECAY)])
    for i in range(2):
        step(runner, random_batch(seed=i))
    state = copy.deepcopy(model.state_dict())
    other = build_model('man')
    other.load_state_dict(state)
    make_runner(other, [MomentumUpdateHook(DECAY)])
    assert counters(other) == [2] * 3
    for key, value in other.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert not torch.equal(momentum_units(other)[0][0], sources(other)[0][0])


def test_weights_without_aux_heads_are_what_the_copies_start_from():
    trained = build_model('greedy')
    runner = make_runner(trained)
    step(runner, random_batch())
    plain = {k: v for k, v in trained.state_dict().items() if not k.startswith('aux_heads.')}
    model = build_model('man')
    missing, unexpected = model.load_state_dict(plain, strict=False)
    assert missing and not unexpected
    make_runner(model, [MomentumUpdateHook(DECAY)])
    assert_equal(momentum_units(model), sources(trained))
    for head, source in zip(model.aux_heads, sources(trained), strict=True):
        assert_equal([list(head.bias_unit.parameters())], [source])
        assert not any(p.requires_grad for p in head.momentum_unit.parameters())


def test_after_training_the_optimizers_are_as_before():
    model = build_model('manpp-greedy')
    hook = MomentumUpdateHook(DECAY, 'pre_step')
    runner = make_runner(model, [hook])
    step(runner, random_batch())
    hook.after_train(runner)
    step(runner, random_batch(seed=1))
    assert counters(model) == [1] * 3
    # Training once more does not update twice.
    hook.before_train(runner)
    step(runner, random_batch(seed=2))
    assert counters(model) == [2] * 3


def test_a_model_without_momentum_heads_is_warned_about(caplog):
    make_runner(build_model('greedy'), [MomentumUpdateHook()])
    assert 'no MomentumAuxHead' in caplog.text


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(decay=1.0), r'decay=1\.0 .* weighs the old value'),
        (dict(decay=-0.1), r'decay=-0\.1 '),
        (dict(end_decay=1.0), r'end_decay=1\.0 '),
        (dict(timing='pre'), "timing='pre' .* one of post_step, pre_step"),
        (dict(schedule='step'), "schedule='step' .* one of cosine, linear"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MomentumUpdateHook(**arguments)


def test_the_default_is_the_papers():
    assert MomentumUpdateHook().decay == 0.995
    assert MomentumUpdateHook().timing == 'post_step'
