"""Mixed precision on a CPU: bfloat16 as it is, and the logic of float16 with bfloat16 inside."""

import contextlib
import copy
import io
import logging

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mman.engine.hooks import MomentumUpdateHook
from mman.engine.optim import BlockAmpOptimWrapper, block_amp_optim_wrapper
from mman.models.losses import SupConLoss
from tests.helpers.hand_written import HandWritten
from tests.helpers.settings import build_model, model_cfg, random_batch
from tests.helpers.stand_in_runner import SGD, make_runner, step

SLOW_SGD = dict(type='SGD', lr=0.01, momentum=0.9)
AFFECTED = 1
BF16 = torch.bfloat16


def amp_wrappers(model, optimizer=SGD, **cfg):
    """The per-block wrappers that mmengine builds from a config with mixed precision."""
    return build_optim_wrapper(
        model,
        dict(
            type='BlockAmpOptimWrapper',
            constructor='BlockOptimWrapperConstructor',
            # As the optimizers that are written out below: a fused step rounds otherwise.
            optimizer={'fused': False, **optimizer},
            **cfg,
        ),
    )


def amp_runner(model, *hooks, max_iters=100, **cfg):
    """A stand-in Runner with these wrappers."""
    runner = make_runner(model)
    runner.optim_wrapper = amp_wrappers(model, **cfg)
    runner.optim_wrapper.initialize_count_status(model, 0, max_iters)
    runner.hooks = list(hooks)
    for hook in hooks:
        hook.before_train(runner)
    return runner


def float32_losses(method, steps):
    """Losses of all blocks in every iteration of ordinary training."""
    model = build_model(method)
    runner = make_runner(model, [MomentumUpdateHook()], optimizer=SLOW_SGD)
    return train(runner, steps)


def train(runner, steps):
    losses = []
    for seed in range(steps):
        step(runner, random_batch(seed=seed, size=runner.model.input_shape[-1]))
        losses.append(runner.model.block_losses)
    return torch.stack(losses)


class FloatTypes(TorchDispatchMode):
    """Notes which floating dtypes every operation is given."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        dtypes = {a.dtype for a in args if isinstance(a, torch.Tensor) and a.is_floating_point()}
        self.seen.append((func.overloadpacket.__name__, dtypes))
        return func(*args, **(kwargs or {}))

    def of(self, name):
        return [dtypes for op, dtypes in self.seen if op == name]


# --- bfloat16 ---


@pytest.mark.parametrize(
    'method',
    ['man', 'dgl-manpp']
    + [
        pytest.param(method, marks=pytest.mark.full)
        for method in ('manpp-predsim', 'man-auglocal', 'infopro-imagenet', 'infopro-contrast')
    ],
)
def test_bfloat16_trains_close_to_float32(method):
    model = build_model(method)
    runner = amp_runner(model, MomentumUpdateHook(), optimizer=SLOW_SGD, dtype='bfloat16')
    dtypes = set()
    model.backbone.layer1[0].conv1.register_forward_hook(lambda *args: dtypes.add(args[2].dtype))
    losses, expected = train(runner, 3), float32_losses(method, 3)
    assert dtypes == {torch.bfloat16}
    assert losses.dtype == torch.float32 and losses.isfinite().all()
    # A value of bfloat16 is good to 2**-8, 0.4 %, and a loss comes from a few layers of them.
    torch.testing.assert_close(losses[0], expected[0], rtol=0.02, atol=0)
    # Batches of 8 under BatchNorm let different weights grow apart fast.
    torch.testing.assert_close(losses, expected, rtol=0.1, atol=0)
    assert not torch.equal(losses, expected)
    for p in model.parameters():
        assert p.dtype == torch.float32 and p.isfinite().all()
    assert runner.optim_wrapper.loss_scaler is None


def test_reconstruction_and_classification_losses_are_in_float32():
    runner = amp_runner(build_model('infopro'), dtype='bfloat16')
    with FloatTypes() as types:
        step(runner, random_batch())
    # Three heads with both losses, and the classifier's own.
    assert types.of('binary_cross_entropy_with_logits') == [{torch.float32}] * 3
    assert types.of('_log_softmax') == [{torch.float32}] * 4
    # And the layers are not, so that the mode is able to tell.
    assert {torch.bfloat16} in types.of('convolution')


def test_contrastive_loss_is_in_float32(monkeypatch):
    # Built first: a head is tried out in float32 when it is built.
    runner = amp_runner(build_model('infopro-contrast'), dtype='bfloat16')
    forward, types = SupConLoss.forward, FloatTypes()

    def watched(self, *args):
        with types:
            return forward(self, *args)

    monkeypatch.setattr(SupConLoss, 'forward', watched)
    step(runner, random_batch())
    assert len(types.of('mm')) == 3
    half = [name for name, dtypes in types.seen if torch.bfloat16 in dtypes]
    # Nothing but the conversion of what the aux net gives.
    assert half == ['_to_copy'] * 3


# --- a loss scale ---


@pytest.fixture
def half(monkeypatch):
    """float16 as it is but for the dtype, so that it runs on a CPU."""
    monkeypatch.setattr(BlockAmpOptimWrapper, '_refuse_cpu', lambda self: None)
    monkeypatch.setitem(block_amp_optim_wrapper._DTYPES, 'float16', torch.bfloat16)


def make_infinite(model, iterations):
    """Make a gradient of block 1 infinite in some iterations."""
    weight = model.local_blocks[AFFECTED].first_unit.conv1.weight
    calls = iter(range(100))

    def spoil(gradient):
        return torch.full_like(gradient, torch.inf) if next(calls) in iterations else gradient

    weight.register_hook(spoil)


def count_calls(scaler, name):
    """A list that grows by one with every call of a method."""
    calls, method = [], getattr(scaler, name)

    def counted(*args):
        calls.append(args)
        return method(*args)

    setattr(scaler, name, counted)
    return calls


def assert_identical(model, other):
    for (name, value), expected in zip(
        model.state_dict().items(), other.state_dict().values(), strict=True
    ):
        assert torch.equal(value, expected), name


@pytest.mark.parametrize('method', ['infopro', 'dgl'])
def test_own_equals_a_hand_written_loop(half, method):
    model = build_model(method)
    by_hand = copy.deepcopy(model)
    for each in (model, by_hand):
        make_infinite(each, {1})
    scale = dict(init_scale=64.0, growth_interval=3)
    runner = amp_runner(model, loss_scale=scale)
    hand = HandWritten(by_hand, BF16, torch.amp.GradScaler('cpu', **scale))
    scaler = runner.optim_wrapper.loss_scaler.grad_scaler
    updates, scales = count_calls(scaler, 'update'), []
    for i in range(6):
        step(runner, random_batch(seed=i))
        hand.iteration(random_batch(seed=i))
        assert_identical(model, by_hand)
        assert scaler.get_scale() == hand.scaler.get_scale()
        assert len(updates) == i + 1
        scales.append(scaler.get_scale())
    # Halved once by the overflow, doubled once by the three iterations without.
    assert scales == [64, 32, 32, 32, 64, 64]


@pytest.mark.parametrize('max_norm', [None, 1.0])
@pytest.mark.parametrize('overflow', ['per_block', 'all'])
def test_who_skips(half, overflow, max_norm):
    model = build_model('greedy')
    make_infinite(model, {1})
    clip = {} if max_norm is None else dict(clip_grad=dict(max_norm=max_norm))
    runner = amp_runner(model, overflow=overflow, loss_scale=dict(init_scale=64.0), **clip)
    scaler = runner.optim_wrapper.loss_scaler.grad_scaler
    updates = count_calls(scaler, 'update')
    for i, stepped in enumerate([True, None, True]):
        before = [[p.clone() for p in block.parameters()] for block in model.local_blocks]
        step(runner, random_batch(seed=i))
        for k, block in enumerate(model.local_blocks):
            same = [torch.equal(p, q) for p, q in zip(before[k], block.parameters(), strict=True)]
            expected = overflow == 'per_block' and k != AFFECTED if stepped is None else stepped
            assert (not any(same)) if expected else all(same), (i, k)
        assert all(p.grad is None for p in model.parameters())
        assert scaler.get_scale() == (64 if i == 0 else 32)
        assert len(updates) == i + 1


def test_together_equals_a_hand_written_loop_without_the_skipped_iteration(half):
    model = build_model('infopro')
    by_hand = copy.deepcopy(model)
    make_infinite(model, {1})
    # A power of two scales without rounding, so the loop needs no scale at all.
    runner = amp_runner(model, overflow='all', loss_scale=dict(init_scale=64.0))
    hand = HandWritten(by_hand, BF16)
    for i in range(4):
        buffers = copy.deepcopy(dict(by_hand.named_buffers()))
        step(runner, random_batch(seed=i))
        if i != 1:
            hand.iteration(random_batch(seed=i))
        else:
            # The forward pass leaves its traces in BatchNorm all the same.
            named = dict(model.named_buffers())
            assert any(not torch.equal(named[name], value) for name, value in buffers.items())
            for name, value in by_hand.named_buffers():
                value.copy_(named[name])
        assert_identical(model, by_hand)


@pytest.mark.parametrize(
    ('overflow', 'optimizer'),
    [('per_block', dict(type='AdamW', lr=0.5, eps=1.0)), ('all', dict(SGD))],
)
def test_fused_optimizers_survive_an_overflow_in_their_first_step(half, optimizer, overflow):
    model = build_model('greedy')
    plain = copy.deepcopy(model)
    for each in (model, plain):
        make_infinite(each, {0})
    runner = amp_runner(model, optimizer=dict(optimizer, fused=True), overflow=overflow)
    expected = amp_runner(plain, optimizer=optimizer, overflow=overflow)
    for i in range(3):
        step(runner, random_batch(seed=i))
        step(expected, random_batch(seed=i))
        if i == 0:
            state = runner.optim_wrapper[f'block{AFFECTED}'].optimizer.state
            # Torch's fused SGD makes a momentum of whatever is in memory here.
            assert not any('momentum_buffer' in values for values in state.values())
        # Fused steps round differently, and the layers are in bfloat16.
        torch.testing.assert_close(
            dict(model.named_parameters()), dict(plain.named_parameters()), rtol=0, atol=5e-3
        )


class Accumulating(nn.Identity):
    """Notes when gradients are kept from being synchronised, as DistributedDataParallel."""

    held = False

    @contextlib.contextmanager
    def no_sync(self):
        self.held = True
        yield
        self.held = False


def test_the_context_casts_and_holds_synchronisation_back():
    runner = amp_runner(build_model('greedy'), dtype='bfloat16', accumulative_counts=2)
    wrapper, model, layer = runner.optim_wrapper['block0'], Accumulating(), nn.Linear(2, 2)
    for held in (True, False, True):
        with wrapper.optim_context(model):
            assert model.held == held
            assert layer(torch.ones(1, 2)).dtype == torch.bfloat16
        assert layer(torch.ones(1, 2)).dtype == torch.float32
        wrapper.update_params(next(runner.model.parameters()).sum())


@pytest.mark.parametrize(('overflow', 'alive'), [('per_block', [3]), ('all', [0, 1, 2, 3])])
def test_whose_gradients_are_alive_at_the_last_step(half, overflow, alive):
    model = build_model('greedy')
    runner = amp_runner(model, overflow=overflow)
    found = []

    def look(*args):
        found.extend(
            k
            for k, block in enumerate(model.local_blocks)
            if any(p.grad is not None for p in block.parameters())
        )

    runner.optim_wrapper['block3'].optimizer.register_step_pre_hook(look)
    step(runner, random_batch())
    assert found == alive


@pytest.mark.parametrize('overflow', ['per_block', 'all'])
def test_a_number_is_the_scale_for_good(half, overflow):
    model = build_model('greedy')
    make_infinite(model, {0})
    runner = amp_runner(model, overflow=overflow, loss_scale=512)
    scaler = runner.optim_wrapper.loss_scaler.grad_scaler
    train(runner, 3)
    assert scaler.get_scale() == 512
    runner.optim_wrapper.loss_scaler.load_state_dict(
        dict(runner.optim_wrapper.loss_scaler.state_dict(), scale=8.0)
    )
    assert scaler.get_scale() == 512


@pytest.mark.parametrize(('overflow', 'max_norm'), [('per_block', 0.5), ('all', None)])
def test_accumulation(half, overflow, max_norm):
    model = build_model('infopro')
    hand = HandWritten(copy.deepcopy(model), BF16, torch.amp.GradScaler('cpu', 64.0), max_norm)
    clip = {} if max_norm is None else dict(clip_grad=dict(max_norm=max_norm))
    runner = amp_runner(
        model,
        max_iters=5,
        accumulative_counts=2,
        overflow=overflow,
        loss_scale=dict(init_scale=64.0),
        **clip,
    )
    updates = count_calls(runner.optim_wrapper.loss_scaler.grad_scaler, 'update')
    for i, total in enumerate([0, 1, 1, 2, 3]):
        step(runner, random_batch(seed=i))
        # The last gradient is alone.
        hand.iteration(random_batch(seed=i), factor=1 if i == 4 else 2, do_step=i in (1, 3, 4))
        assert_identical(model, hand.model)
        assert len(updates) == total


@pytest.mark.parametrize(('overflow', 'max_norm'), [('per_block', 0.05), ('all', 1e6)])
def test_clipping_sees_unscaled_gradients(half, overflow, max_norm):
    model = build_model('infopro')
    # Without a scale: a power of two does not round, so both should see the same norms.
    hand = HandWritten(copy.deepcopy(model), BF16, max_norm=max_norm)
    runner = amp_runner(
        model,
        overflow=overflow,
        loss_scale=dict(init_scale=1024.0),
        clip_grad=dict(max_norm=max_norm),
    )
    for i in range(2):
        step(runner, random_batch(seed=i))
        norms = hand.iteration(random_batch(seed=i))
        assert torch.equal(runner.optim_wrapper.grad_norms(), torch.stack(norms))
        assert_identical(model, hand.model)
    assert all(norm > 0.05 for norm in norms)


def saved_and_loaded(state):
    """A state as a checkpoint gives it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize('overflow', ['per_block', 'all'])
def test_a_state_is_restored(half, overflow):
    cfg = dict(overflow=overflow, loss_scale=dict(init_scale=4.0, growth_interval=4))
    model = build_model('greedy')
    runner = amp_runner(model, **cfg)
    train(runner, 7)
    state = saved_and_loaded(runner.optim_wrapper.state_dict())
    assert set(state) == {'block0', 'block1', 'block2', 'block3', 'loss_scaler'}
    assert state['loss_scaler']['scale'] == 8
    assert not any('scale' in key for k in range(4) for key in state[f'block{k}'])
    other = amp_runner(copy.deepcopy(model), **cfg)
    other.optim_wrapper.load_state_dict(state)
    for each in (runner, other):
        step(each, random_batch(seed=7))
        # The fourth iteration in a row after the first growth.
        assert each.optim_wrapper.loss_scaler.grad_scaler.get_scale() == 16
    assert_identical(model, other.model)


def test_a_runner_resumes_with_its_scale(half, build_runner):
    def train_until(epochs, work_dir, **kwargs):
        runner = build_runner(
            model_cfg('manpp-greedy', size=8),
            epochs=epochs,
            hooks=[dict(type='MomentumUpdateHook')],
            work_dir=work_dir,
            **kwargs,
        )
        runner.optim_wrapper.update(
            type='BlockAmpOptimWrapper', loss_scale=dict(init_scale=4.0, growth_interval=2)
        )
        runner.train()
        return runner

    straight = train_until(2, 'straight')
    first = train_until(1, 'resumed')
    resumed = train_until(2, 'resumed', resume=True, load_from=f'{first.work_dir}/epoch_1.pth')
    scales = [
        runner.optim_wrapper.loss_scaler.grad_scaler.get_scale()
        for runner in (first, straight, resumed)
    ]
    # Three iterations an epoch: the third growth comes only if the count goes on.
    assert scales == [8, 32, 32]
    assert_identical(straight.model, resumed.model)


def test_a_state_without_a_scale_is_refused(half):
    model = build_model('greedy')
    state = amp_wrappers(model, dtype='bfloat16').state_dict()
    assert 'loss_scaler' not in state
    wrappers = amp_wrappers(model)
    before = copy.deepcopy(wrappers.state_dict())
    with pytest.raises(ValueError, match=r"dtype='float16' cannot resume .* without a loss scale"):
        wrappers.load_state_dict(state)
    assert wrappers.state_dict() == before
    # One for all blocks, torch's own unless the config says otherwise.
    assert {id(w.loss_scaler) for w in wrappers.values()} == {id(wrappers.loss_scaler)}
    assert wrappers.loss_scaler.grad_scaler.get_scale() == 2.0**16


def test_a_state_with_a_scale_is_loaded_without_it(half, monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mman.engine.optim.block_optim_wrapper_dict.print_log',
        lambda message, level, **_: messages.append((message, level)),
    )
    runner = amp_runner(build_model('greedy'))
    train(runner, 1)
    state = runner.optim_wrapper.state_dict()
    wrappers = amp_wrappers(runner.model, dtype='bfloat16')
    wrappers.load_state_dict(copy.deepcopy(state))
    ((message, level),) = messages
    assert 'has a loss scale' in message and level == logging.WARNING
    buffers = [
        next(iter(each['block2'].optimizer.state.values()))['momentum_buffer']
        for each in (wrappers, runner.optim_wrapper)
    ]
    assert torch.equal(*buffers)


@pytest.mark.parametrize(
    ('timing', 'overflow', 'updates'),
    [
        # Head 0 averages block 1, which overflows in the second of three iterations.
        ('post_step', 'per_block', [3, 3, 3]),
        ('post_step', 'all', [3, 3, 3]),
        ('pre_step', 'per_block', [2, 3, 3]),
        ('pre_step', 'all', [2, 2, 2]),
    ],
)
def test_momentum_units_when_a_step_is_skipped(half, timing, overflow, updates):
    model = build_model('manpp-greedy')
    make_infinite(model, {1})
    hook = MomentumUpdateHook(decay=0.5, timing=timing)
    runner = amp_runner(model, hook, overflow=overflow)
    for i in range(3):
        units = copy.deepcopy([head.momentum_unit for head in model.aux_heads])
        sources = copy.deepcopy([block.first_unit for block in model.local_blocks[1:]])
        counts = [int(head.num_updates) for head in model.aux_heads]
        step(runner, random_batch(seed=i))
        for k, head in enumerate(model.aux_heads):
            source = sources[k] if timing == 'pre_step' else model.local_blocks[k + 1].first_unit
            weight, expected = head.momentum_unit.conv1.weight, units[k].conv1.weight
            if head.num_updates > counts[k]:
                expected = 0.5 * expected + 0.5 * source.conv1.weight
            torch.testing.assert_close(weight, expected)
    assert [int(head.num_updates) for head in model.aux_heads] == updates


# --- mistakes ---


@pytest.mark.parametrize(
    ('cfg', 'named'),
    [
        (dict(dtype='half'), r"dtype='half' should be one of float16, bfloat16"),
        (dict(dtype='bfloat16', loss_scale=8.0), r'loss_scale=8\.0 is for float16'),
        (dict(dtype='bfloat16', overflow='all'), r"overflow='all' is for float16"),
        (dict(overflow='both'), r"overflow='both' should be one of per_block, all"),
        (dict(loss_scale='static'), r"loss_scale='static' should be 'dynamic'"),
        (dict(loss_scale=0), r'loss_scale=0 should be'),
        (dict(loss_scale=True), r'loss_scale=True should be'),
        (dict(loss_scale=float('inf')), r'loss_scale=inf should be'),
        (dict(loss_scale=dict(enabled=False)), r"has the key 'enabled', but takes init_scale"),
        (dict(loss_scale=dict(init_scale=-1.0)), r'init_scale=-1\.0 should be a number above 0'),
        (dict(loss_scale=dict(growth_factor=1)), r'growth_factor=1 should be a number above 1'),
        (dict(loss_scale=dict(backoff_factor=1.5)), r'backoff_factor=1\.5 should be'),
        (dict(loss_scale=dict(growth_interval=0.5)), r'growth_interval=0\.5 should be an int'),
        (
            dict(blocks={2: dict(accumulative_counts=4)}),
            r'accumulative_counts is 1 in block0 and 4 in block2',
        ),
        (dict(blocks={0: dict(dtype='bfloat16')}), r"dtype is 'bfloat16' in block0 and 'float16'"),
    ],
)
def test_mistakes_are_named(half, cfg, named):
    with pytest.raises(ValueError, match=named):
        amp_wrappers(build_model('greedy'), **cfg)


def test_blocks_may_override_the_optimizer_and_clipping(half):
    wrappers = amp_wrappers(
        build_model('greedy'),
        clip_grad=dict(max_norm=1.0),
        blocks={1: dict(optimizer=dict(lr=0.01), clip_grad=None)},
    )
    assert [w.clip_grad_kwargs is None for w in wrappers.values()] == [False, True, False, False]
    model = build_model('greedy')
    with pytest.raises(ValueError, match="optim_wrapper.type is 'BlockOptimWrapper' in block0"):
        type(wrappers)(block0=make_runner(model).optim_wrapper['block0'], block1=wrappers['block1'])


def test_float16_on_a_cpu_is_refused():
    with pytest.raises(ValueError, match=r"dtype='float16' needs a GPU.*dtype='bfloat16'"):
        amp_wrappers(build_model('greedy'))
