"""What a resumed training does not take from its config is said in one line, or refused."""

import pytest
import torch

from mman.utils import UserError
from mman.utils.checkpoint import load_from_local

from .conftest import small_model

_SGD = dict(type='SGD', lr=0.05, momentum=0.9)
# As long as the training; its last epoch has the rate 0.
_COSINE = dict(type='RampCosineLR', ramp_epochs=0)


@pytest.fixture
def resumed(build_runner, tmp_path):
    """``resumed(epoch, ...)``: the warnings of going on from an epoch of a training of 2."""

    def build(epochs, images=24, optimizer=_SGD, schedule=_COSINE, **kwargs):
        return build_runner(
            small_model(),
            epochs=epochs,
            images=images,
            hooks=[dict(type='ResumeStateHook')],
            optim_wrapper=dict(optimizer=optimizer),
            param_scheduler=schedule,
            train_cfg=dict(type='ResumableEpochTrainLoop', max_epochs=epochs),
            **kwargs,
        )

    build(2).train()

    def resume(epoch, epochs=2, **kwargs):
        path = str(tmp_path / 'run' / f'epoch_{epoch}.pth')
        runner, lines = build(epochs, resume=True, load_from=path, **kwargs), []
        runner.logger.warning = lines.append
        runner.train()
        return [line for line in lines if line.startswith('checkpoint ')]

    return resume


def test_nothing_is_said_of_the_same_config(resumed):
    assert resumed(1) == resumed(2) == []


def test_changes_are_said(resumed):
    (line,) = resumed(1, optimizer=dict(_SGD, lr=0.3))
    assert 'goes on with its own lr=0.05, not 0.3 of the config' in line
    (line,) = resumed(1, optimizer=dict(_SGD, momentum=0.5, nesterov=True))
    assert 'its own momentum=0.9, not 0.5' in line
    (line,) = resumed(1, schedule=dict(_COSINE, ramp_start=0.5))
    assert 'from which param_scheduler differs in ramp_start: ' in line
    (line,) = resumed(1, schedule=[_COSINE, dict(type='LinearLR', start_factor=0.5, end=1)])
    assert 'from which param_scheduler differs in number: ' in line
    (line,) = resumed(1, images=32)
    assert 'has 3 batches an epoch, not 4' in line


def test_another_optimizer_is_refused(resumed):
    with pytest.raises(UserError, match='another optimizer, without betas, eps: set optim_wrapper'):
        resumed(1, optimizer=dict(type='Adam', lr=0.05))


@pytest.mark.parametrize(
    ('key', 'right'),
    [
        ('optimizer', 'a dict'),
        ('message_hub', 'a dict'),
        ('param_schedulers', 'a dict or a list'),
    ],
)
def test_states_that_are_none_are_refused(resumed, tmp_path, key, right):
    path = tmp_path / 'run' / 'epoch_1.pth'
    torch.save(load_from_local(path) | {key: 5}, path)
    with pytest.raises(UserError, match=f'cannot be resumed: {key}=5 should be {right}; start'):
        resumed(1)


def test_a_schedule_at_its_end(resumed):
    with pytest.raises(UserError, match='end of its schedule, with a learning rate of 0'):
        resumed(2, epochs=3)
    (line,) = resumed(1, epochs=3)
    assert 'differs in end, total: ' in line
