"""What happens to numbers that are not finite, with a real Runner on a few digits."""

import logging

import pytest
import torch
from mmengine.hooks import Hook

from mman.engine.hooks import FiniteGuardHook
from mman.utils import UserError
from mman.utils.checkpoint import load_from_local
from tests.helpers.settings import build_model
from tests.helpers.stand_in_runner import make_runner
from tests.test_engine.conftest import small_model


class Spoil(Hook):
    """Makes the gradients of one block, or its loss, infinite in one iteration."""

    def __init__(self, block, iteration, what='gradient'):
        self.block, self.iteration, self.what = block, iteration, what
        self.weights = {}

    def before_train_iter(self, runner, *args, **kwargs):
        first = next(iter(self._blocks(runner)[self.block].parameters()))
        self.weights[runner.iter + 1] = self._copy(runner)
        if runner.iter + 1 == self.iteration and self.what == 'gradient':
            self.handle = first.register_hook(lambda gradient: gradient * float('nan'))

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter + 1 != self.iteration:
            return
        if self.what == 'gradient':
            self.handle.remove()
        else:
            runner.model.block_losses[self.block] = float(self.what)

    def after_train(self, runner):
        self.weights[runner.iter + 1] = self._copy(runner)

    def changed(self, iteration):
        """Per block whether its weights moved in an iteration."""
        before, after = self.weights[iteration], self.weights[iteration + 1]
        return [
            any(not torch.equal(a, b) for a, b in zip(*pair, strict=True))
            for pair in zip(before, after, strict=True)
        ]

    @staticmethod
    def _blocks(runner):
        return runner.model.local_blocks

    def _copy(self, runner):
        return [[p.detach().clone() for p in b.parameters()] for b in self._blocks(runner)]


def run(build_runner, spoil, guard, **kwargs):
    runner = build_runner(
        small_model(num_blocks=3, strategy='uniform'),
        epochs=2,
        # mmengine's own would save bad weights, and call no before_checkpoint.
        default_hooks=dict(checkpoint=dict(type='mman.CheckpointHook', interval=1)),
        hooks=[spoil, guard],
        **kwargs,
    )
    runner.train()
    return runner


@pytest.mark.parametrize(('interval', 'value'), [(1, 'inf'), (2, 'nan'), (50, 'nan')])
def test_stop_names_the_block_and_its_first_iteration(build_runner, tmp_path, value, interval):
    """Three iterations an epoch; whenever it looks, no second checkpoint is saved."""
    with pytest.raises(UserError, match=r'the loss of block1 was not finite in iteration 5\.') as e:
        run(build_runner, Spoil(1, 5, value), FiniteGuardHook(interval=interval))
    assert 'epoch_1.pth' in str(e.value) and '\n' not in str(e.value)
    assert [path.name for path in (tmp_path / 'run').glob('*.pth')] == ['epoch_1.pth']


def test_bad_weights_are_never_saved(build_runner, tmp_path):
    """The last step before the checkpoint spoils them; no loss has shown it yet."""
    with pytest.raises(UserError, match=r' of block0 .*is not finite, so no checkpoint was saved'):
        run(build_runner, Spoil(0, 3), FiniteGuardHook())
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_without_the_guard_they_are_saved(build_runner, tmp_path):
    """So the two tests above can fail."""
    run(build_runner, Spoil(0, 3), Hook())
    weights = load_from_local(tmp_path / 'run' / 'epoch_1.pth')['state_dict']
    assert any(t.is_floating_point() and t.isnan().any() for t in weights.values())


def rates(runner):
    return [w.optimizer.param_groups[0]['lr'] for w in runner.optim_wrapper.values()]


def test_skip_leaves_out_that_block_in_that_iteration_alone(build_runner, tmp_path):
    spoil = Spoil(1, 4)
    runner = run(build_runner, spoil, FiniteGuardHook('skip'))
    assert spoil.changed(3) == [True, True, True]
    assert spoil.changed(4) == [True, False, True]
    assert spoil.changed(5) == [True, True, True]
    assert rates(runner) == [0.05] * 3
    (log,) = (tmp_path / 'run').rglob('*.log')
    assert log.read_text().count('block1: gradients are not finite in iteration 4;') == 1


@pytest.mark.parametrize(
    ('scheduler', 'expected'),
    [
        (None, 0.05),
        # Halved after the first and the third epoch.
        (dict(type='MultiStepLR', milestones=[1], gamma=0.5), 0.025),
        (dict(type='RampCosineLR', ramp_epochs=1, ramp_start=0.04, end=4), None),
    ],
)
def test_lower_rate_lowers_that_block_alone_for_good(build_runner, scheduler, expected):
    schedule = {} if scheduler is None else dict(param_scheduler=scheduler)
    spoil = Spoil(1, 2)
    runner = run(build_runner, spoil, FiniteGuardHook('lower_rate', factor=0.25), **schedule)
    assert spoil.changed(2) == [True, False, True]
    first, second, third = rates(runner)
    assert first == third and second == pytest.approx(first / 4, rel=1e-12)
    if expected is not None:
        assert first == expected


def test_blocks_in_bfloat16_have_the_guard_too():
    model = build_model()
    runner = make_runner(model, type='BlockAmpOptimWrapper', dtype='bfloat16')
    runner.param_schedulers = None
    FiniteGuardHook('skip').before_train(runner)
    wrapper = runner.optim_wrapper['block0']
    params = [p for group in wrapper.optimizer.param_groups for p in group['params']]
    before = [p.detach().clone() for p in params]
    for value, moved in ((float('inf'), False), (1.0, True)):
        for p in params:
            p.grad = torch.full_like(p, value)
        wrapper.step()
        assert moved == any(not torch.equal(a, b) for a, b in zip(before, params, strict=True))


def test_large_gradients_are_finite(caplog):
    """Their squares are not."""
    model = build_model()
    runner = make_runner(model)
    FiniteGuardHook('skip').before_train(runner)
    wrapper = runner.optim_wrapper['block0']
    for group in wrapper.optimizer.param_groups:
        for p in group['params']:
            p.grad = torch.full_like(p, 1e30)
    with caplog.at_level(logging.WARNING):
        assert wrapper.step_guard()
    assert not caplog.records


@pytest.mark.parametrize(
    ('kwargs', 'named'),
    [
        (dict(policy='ignore'), "finite_guard.policy='ignore' should be one of stop, skip, lower"),
        (dict(interval=0), 'finite_guard.interval=0 should be an integer from 1'),
        (dict(interval=True), 'finite_guard.interval=True should be an integer from 1'),
        (dict(factor=1.0), 'finite_guard.factor=1.0 should be a number between 0 and 1'),
        (dict(factor='half'), "finite_guard.factor='half' should be a number"),
    ],
)
def test_bad_keys_are_named(kwargs, named):
    with pytest.raises(UserError, match=named):
        FiniteGuardHook(**kwargs)


def test_one_optimizer_for_all_blocks_cannot_be_guarded():
    runner = make_runner(build_model())
    runner.optim_wrapper = runner.optim_wrapper['block0']
    with pytest.raises(UserError, match="policy='skip' needs optim_wrapper.type='BlockOptim"):
        FiniteGuardHook('skip').before_train(runner)
