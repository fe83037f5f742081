"""Saved tensors on the host and steps in the backward pass: the same training with less memory."""

import pytest
import torch
from mmengine.config import Config

from mman.apis.memory_prediction import predict_memory
from mman.engine.hooks import FiniteGuardHook, MomentumUpdateHook
from mman.registry import MODELS
from mman.utils import UserError
from mman.utils.live_bytes import LiveBytes
from mman.utils.saved_on_host import SavedOnHost
from tests.helpers.settings import build_model, model_cfg, random_batch
from tests.helpers.stand_in_runner import SGD, make_runner, step

BACKWARD = 'BackwardStepOptimWrapper'
ADAMW = dict(type='AdamW', lr=1e-3)


def _trained(cfg, wrapper='BlockOptimWrapper', optimizer=SGD, steps=3):
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    runner = make_runner(model.train(), [MomentumUpdateHook()], optimizer, type=wrapper)
    for seed in range(steps):
        step(runner, random_batch(4, seed=seed))
    return model.state_dict(), runner


def _assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize(
    ('method', 'backbone', 'recompute', 'num_blocks', 'optimizer'),
    [
        ('man', 'vit', 'all', 1, ADAMW),
        pytest.param('man', 'cifar_resnet20', 'none', 1, SGD, marks=pytest.mark.full),
        pytest.param('manpp', 'vit', 'none', 3, SGD, marks=pytest.mark.full),
    ],
)
def test_steps_in_the_backward_pass_are_those_after_it(
    method, backbone, recompute, num_blocks, optimizer
):
    splitter = dict(num_blocks=num_blocks, strategy='uniform')
    cfg = model_cfg(method, backbone, recompute=recompute, **splitter)
    expected, plain = _trained(cfg, optimizer=optimizer)
    found, runner = _trained(cfg, BACKWARD, optimizer)
    _assert_equal(found, expected)
    states = (plain.optim_wrapper.state_dict(), runner.optim_wrapper.state_dict())
    torch.testing.assert_close(*states, rtol=0, atol=0)


def test_one_gradient_lives_at_a_time():
    model = build_model(num_blocks=1)
    runner = make_runner(model, type=BACKWARD)
    found = []
    runner.optim_wrapper['block0'].optimizer.register_step_pre_hook(
        lambda *_: found.append(sum(p.grad is not None for p in model.parameters()))
    )
    step(runner, random_batch())
    assert found == [1] * len(list(model.parameters()))


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        (dict(accumulative_counts=2), 'optim_wrapper.accumulative_counts=2 needs all gradients'),
        (dict(clip_grad=dict(max_norm=1.0)), 'optim_wrapper.clip_grad=.* it should be None'),
    ],
)
def test_what_needs_all_gradients_is_refused(keys, message):
    with pytest.raises(UserError, match=message):
        make_runner(build_model(num_blocks=1), type=BACKWARD, **keys)


@pytest.mark.parametrize(
    ('hook', 'message'),
    [
        (FiniteGuardHook('skip'), "finite_guard.policy should be 'stop' with BackwardStep"),
        (MomentumUpdateHook(timing='pre_step'), "timing='pre_step' of .* should be 'post_step'"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_hooks_that_come_before_a_step_are_refused(hook, message):
    with pytest.raises(UserError, match=message):
        make_runner(build_model(), [hook], type=BACKWARD)


@pytest.mark.parametrize(
    ('method', 'backbone', 'recompute', 'num_blocks'),
    [
        ('man', 'cifar_resnet20', 'block', 1),
        pytest.param('man', 'vit', 'none', 1, marks=pytest.mark.full),
        pytest.param('manpp', 'vit', 'all', 3, marks=pytest.mark.full),
    ],
)
def test_saved_tensors_on_the_host_train_alike(method, backbone, recompute, num_blocks):
    splitter = dict(num_blocks=num_blocks, strategy='uniform')
    cfg = model_cfg(method, backbone, recompute=recompute, **splitter)
    _assert_equal(_trained(dict(cfg, save_on_cpu=True))[0], _trained(cfg)[0])


def test_the_host_holds_what_autograd_saves():
    """Against a sum over all that is saved, by hooks of our own."""
    cfg = model_cfg('man', num_blocks=1)
    model = build_model('man', num_blocks=1)
    data = model.data_preprocessor(random_batch(16), True)
    batch = model.local_batch(data['inputs'], data['data_samples'])
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: saved.append(x.numel() * x.element_size()) or x, lambda x: x
    ):
        model.local_blocks[0](data['inputs'], batch)
    wrapper = dict(type='BlockOptimWrapper', constructor='BlockOptimWrapperConstructor')
    wrapper = dict(wrapper, optimizer=SGD)
    report = predict_memory(
        Config(dict(model=dict(cfg, save_on_cpu=True), optim_wrapper=wrapper)), 16
    )
    plain = predict_memory(Config(dict(model=cfg, optim_wrapper=wrapper)), 16)
    assert report.host == pytest.approx(sum(saved), rel=0.02) and plain.host == 0
    assert report.peak < 0.5 * plain.peak and report.flops == plain.flops


def test_copies_on_the_host_are_counted_apart():
    x = torch.ones(1000, requires_grad=True)
    with LiveBytes([x]) as live:
        with SavedOnHost():
            y = (x * 2).exp().sum()
        # The factor is a number; the exponential saves its result.
        assert (live.now, live.host_now) == (4000 + 4, 4000)
        y.backward()
        assert live.host_now == 0 and live.host_peak == 4000
    assert torch.allclose(x.grad, 2 * torch.tensor(2.0).exp())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_on_a_gpu_it_is_what_torch_does():
    x = torch.randn(64, 64, device='cuda', requires_grad=True)
    found = []
    for context in (SavedOnHost(), torch.autograd.graph.save_on_cpu()):
        torch.cuda.reset_peak_memory_stats()
        with context:
            y = (x @ x).relu().exp().sum()
        y.backward()
        found.append((x.grad.clone(), torch.cuda.max_memory_allocated()))
        x.grad = None
    assert torch.equal(found[0][0], found[1][0])
    assert abs(found[0][1] - found[1][1]) <= 2 * x.numel() * x.element_size()


def test_the_key_is_true_or_false():
    with pytest.raises(UserError, match='model.save_on_cpu=1 should be True or False'):
        MODELS.build(dict(model_cfg(), save_on_cpu=1))
