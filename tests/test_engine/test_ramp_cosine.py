import math

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mman.engine.schedulers import RampCosineLR

from .conftest import small_model


def published(lr, epochs, ramp=10):
    """Learning rates of epochs 1 to E, as the releases set them."""
    rates = []
    for e in range(1, epochs + 1):
        c = lr / 2 * (1 + math.cos(math.pi * e / epochs))
        rates.append(c if e > ramp else (c * (e - 1) + 0.01 * (ramp + 1 - e)) / ramp)
    return rates


def optimizer_of(*rates):
    return torch.optim.SGD([dict(params=[torch.zeros(1)], lr=lr) for lr in rates], lr=1.0)


def rates_over(scheduler, optimizer, epochs):
    """Rates of the first group in so many epochs from now on."""
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(('lr', 'epochs'), [(0.8, 400), (0.1, 160), (0.8, 11), (0.8, 3), (0.1, 1)])
def test_the_published_schedule(lr, epochs):
    optimizer = optimizer_of(lr)
    scheduler = RampCosineLR(optimizer, end=epochs)
    found = rates_over(scheduler, optimizer, epochs)
    assert found == pytest.approx(published(lr, epochs), rel=1e-12, abs=1e-15)
    assert found[0] == 0.01


def test_some_epochs_by_hand():
    optimizer = optimizer_of(0.8)
    found = rates_over(RampCosineLR(optimizer, end=400), optimizer, 400)
    assert found[0] == pytest.approx(0.01)
    # Epoch 200 is half way, epoch 100 a quarter, epoch 400 the end.
    assert found[199] == pytest.approx(0.4)
    assert found[99] == pytest.approx(0.4 * (1 + math.sqrt(0.5)))
    assert found[399] == pytest.approx(0.0, abs=1e-12)


def test_without_a_ramp():
    optimizer = optimizer_of(0.8)
    found = rates_over(RampCosineLR(optimizer, ramp_epochs=0, end=4), optimizer, 4)
    half = 0.4 * math.sqrt(0.5)
    assert found == pytest.approx([0.4 + half, 0.4, 0.4 - half, 0.0], abs=1e-12)


def test_the_ramp_starts_at_an_absolute_rate_for_every_group():
    optimizer = optimizer_of(0.8, 0.08)
    scheduler = RampCosineLR(optimizer, ramp_epochs=5, ramp_start=0.02, end=50)
    found = [[group['lr'] for group in optimizer.param_groups]]
    for _ in range(3):
        optimizer.step()
        scheduler.step()
        found.append([group['lr'] for group in optimizer.param_groups])
    for e, rates in enumerate(found, start=1):
        for lr, rate in zip((0.8, 0.08), rates, strict=True):
            c = lr / 2 * (1 + math.cos(math.pi * e / 50))
            assert rate == pytest.approx(c * (e - 1) / 5 + 0.02 * (6 - e) / 5)


@pytest.mark.parametrize('done', [4, 25])
def test_resuming(done):
    optimizer = optimizer_of(0.8)
    scheduler = RampCosineLR(optimizer, end=40)
    rates_over(scheduler, optimizer, done)
    saved = scheduler.state_dict(), optimizer.state_dict()
    other = optimizer_of(0.8)
    resumed = RampCosineLR(other, end=40)
    other.load_state_dict(saved[1])
    resumed.load_state_dict(saved[0])
    assert rates_over(resumed, other, 40 - done) == pytest.approx(
        published(0.8, 40)[done:], abs=1e-15
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [(dict(), 'needs end'), (dict(end=5, ramp_epochs=-1), 'ramp_epochs=-1 ')],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RampCosineLR(optimizer_of(0.1), **arguments)


class Rates(Hook):
    """Keeps the learning rate of every block at every iteration."""

    def __init__(self):
        self.found = []

    def before_train_iter(self, runner: Runner, *args, **kwargs):
        self.found.append(
            [w.optimizer.param_groups[0]['lr'] for _, w in runner.optim_wrapper.items()]
        )


def test_training_and_resuming_follow_it(build_runner, tmp_path):
    def run(**kwargs):
        rates = Rates()
        build_runner(
            small_model(num_blocks=2, strategy='uniform'),
            epochs=4,
            images=16,
            param_scheduler=dict(type='RampCosineLR', ramp_epochs=2),
            optim_wrapper=dict(blocks={1: dict(optimizer=dict(lr=0.8))}),
            hooks=[rates],
            **kwargs,
        ).train()
        return rates.found

    # Two iterations an epoch, two blocks.
    rates = zip(published(0.05, 4, ramp=2), published(0.8, 4, ramp=2), strict=True)
    expected = [list(pair) for pair in rates for _ in range(2)]
    found = run()
    assert len(found) == 8
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-15)
    resumed = run(work_dir='resumed', load_from=str(tmp_path / 'run' / 'epoch_3.pth'), resume=True)
    assert resumed == found[6:]
