"""The numbers of the released MAN and MAN++ codes, reproduced by our own path."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from mman.engine.hooks import MomentumUpdateHook
from mman.registry import MODELS
from tests.helpers.golden_case import GoldenCase, golden_weight
from tests.helpers.stand_in_runner import make_runner, step

FOLDER = Path(os.environ.get('MMAN_GOLDEN_DIR', Path(__file__).parent / 'data' / 'golden'))
CASES = sorted(FOLDER.glob('*.npz'))


def test_there_are_cases():
    assert CASES, f'no reference vectors in {FOLDER}'


def _build(case):
    model = MODELS.build(case.model_cfg())
    model.data_preprocessor.forward = lambda data, training=False: data
    model.train()
    # Which tensors there are is told by the release, not by our model.
    names = {
        case.own_name(name): name
        for group in ('step0/grad', 'step0/ema')
        for name in case.names(group)
    }
    own = dict(model.named_parameters())
    assert set(own) == set(names)
    with torch.no_grad():
        for ours, name in names.items():
            own[ours].copy_(golden_weight(name, tuple(own[ours].shape)))
    return model


def _train(case, model):
    """Three steps; yields the step and what it left behind."""
    hook = MomentumUpdateHook(decay=case.meta['ema_momentum'], timing='pre_step')
    runner = make_runner(model, [hook], optimizer=dict(type='SGD', **case.meta['sgd']))
    gradients = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            p.register_post_accumulate_grad_hook(
                lambda p, name=name: gradients.__setitem__(name, p.grad.clone())
            )
    for i in range(case.meta['steps']):
        samples = [
            DataSample().set_gt_label(int(label)) for label in case.arrays[f'step{i}/target']
        ]
        inputs = torch.from_numpy(case.arrays[f'step{i}/input'])
        step(runner, dict(inputs=inputs, data_samples=samples))
        yield i, gradients
        gradients.clear()


@pytest.fixture
def one_thread():
    """The reference ran on one; the order of a sum depends on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize('path', CASES, ids=lambda path: path.stem)
def test_golden(path, one_thread):
    case = GoldenCase(path)
    torch.manual_seed(0)
    model = _build(case)
    for i, gradients in _train(case, model):
        stored = case.arrays[f'step{i}/block_loss']
        np.testing.assert_allclose(
            model.block_losses.numpy(), stored, rtol=1e-5 if i < 2 else 5e-4, err_msg=f'step {i}'
        )
        if i == 0:
            _check_gradients(case, gradients)
        if i in (0, 2):
            _check(case, f'step{i}/ema', dict(model.named_parameters()), 1e-5)
    _check(case, 'after', model.state_dict(), 1e-2)


def _check_gradients(case, gradients):
    names = case.names('step0/grad')
    assert {case.own_name(name) for name in names} == set(gradients)
    for name in names:
        gradient = gradients[case.own_name(name)]
        off, largest = case.difference('step0/grad', name, gradient)
        # A bias that BatchNorm removes has no gradient but rounding.
        limit = 1e-6 if name in case.removed_biases() else 1e-5 * largest
        assert off <= limit, (name, off, largest)


def _check(case, group, tensors, tolerance):
    names = case.names(group)
    assert names
    for name in names:
        off, largest = case.difference(group, name, tensors[case.own_name(name)])
        assert off <= tolerance * max(largest, 1e-12), (group, name, off, largest)
