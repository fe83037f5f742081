"""The numbers of the released MAN and MAN++ codes, reproduced by our own path."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.structures import DataSample

from mman.engine.hooks import MomentumUpdateHook
from mman.registry import MODELS
from tests.helpers.formulas import Formulas, contrast, cross_entropy
from tests.helpers.golden_case import GoldenCase, golden_weight
from tests.helpers.heads import make_batch, make_context, make_head
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
    # A case computed in float64 is compared in float64: rounding may turn a ReLU over.
    return model.to(torch.from_numpy(case.arrays['step0/input']).dtype)


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


# What follows has no vectors of a release: the figures are computed from the formulas, in float64.
LABELS = torch.tensor([0, 1, 1, 2, 0, 2])


@pytest.fixture
def batch():
    """Pictures of 16 x 16, their values from 0 to 255 as they are."""
    torch.manual_seed(0)
    return make_batch(255 * torch.rand(6, 3, 16, 16, dtype=torch.float64), LABELS.tolist())


def _drawn(module):
    """The module in float64, with reference weights by its own names."""
    module.double().train()
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(golden_weight(name, tuple(p.shape)))
    return module


def _assert_equal(losses, expected, module):
    """The same losses, and the same gradients of every parameter."""
    torch.testing.assert_close(torch.stack(losses), torch.stack(expected), rtol=1e-10, atol=0)
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    found, wanted = (
        torch.autograd.grad(sum(x), list(trained.values()), allow_unused=True)
        for x in (losses, expected)
    )
    for name, a, b in zip(trained, found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12, msg=name)


def test_golden_formulas_of_manpp_with_infopro(batch):
    """The release's K = 8: nine blocks, another head for the stem, weights by the stage."""
    cfg = Config.fromfile('configs/manpp/resnet32_k9-release_cifar10.py').model
    model = _drawn(MODELS.build(dict(cfg, input_shape=(3, 16, 16))))
    for head in model.aux_heads:
        head.started = True
    x, losses = batch.inputs / 255, []
    for block in model.local_blocks:
        x, found = block(x, batch)
        losses.append(sum(found.values()))

    net = Formulas(dict(model.named_parameters()))
    x = net.layer('backbone.conv1', 'backbone.bn1', batch.inputs / 255)
    units = [(stage, unit) for stage in (1, 2, 3) for unit in range(5)]
    ends = [(1, 0), (1, 2), (1, 4), (2, 1), (2, 3), (3, 0), (3, 2)]
    expected = [_manpp_loss(net, 0, x, batch, 5.0, 0.5)]
    x = x.detach()
    for stage, unit in units:
        x = net.unit(f'backbone.layer{stage}.{unit}', x)
        if (stage, unit) in ends:
            next_stage, _ = units[units.index((stage, unit)) + 1]
            part = 1 - next_stage / (8 - 2)
            k = 1 + ends.index((stage, unit))
            expected.append(_manpp_loss(net, k, x, batch, 5.0 * part, 0.5 * part))
            x = x.detach()
    expected.append(cross_entropy(net.linear('head.fc', x.mean((2, 3))), LABELS))
    _assert_equal(losses, expected, model)


def _manpp_loss(net, k, x, batch, reconstruction, task):
    name = f'aux_heads.{k}'
    y = net.mixed(name, x)
    aux = f'{name}.host.aux_net'
    loss = reconstruction * net.reconstruction(f'{name}.host.decoder.decoder', y, batch.image)
    if k == 0:
        return loss + task * contrast(net.aux_net(aux, y, 1), LABELS, 0.07)
    return loss + task * cross_entropy(net.aux_net(aux, y, 2), LABELS)


@pytest.mark.parametrize('method', ['man', 'manpp'])
def test_golden_formulas_of_infopro_on_resnet152(method, batch):
    """The releases weigh 5 and 0.75 for every network."""
    cfg = Config.fromfile(f'configs/{method}/resnet152_k2_imagenet.py').model
    head = _drawn(make_head(cfg.aux_head.host, make_context((512, 2, 2))))
    y = torch.rand(6, 512, 2, 2, dtype=torch.float64)
    net = Formulas(dict(head.named_parameters()))
    reconstruction = net.imagenet_decoder('decoder.decoder', y, batch.image)
    task = cross_entropy(net.imagenet_aux_net('aux_net', y), LABELS)
    losses = [sum(head.loss(y, batch).values())]
    _assert_equal(losses, [5.0 * reconstruction + 0.75 * task], head)


def test_golden_formulas_of_predsim_on_stl10(batch):
    """Stage 3 has 64 maps of 24 x 24: windows of 16 x 8, the first begins eight rows outside."""
    cfg = Config.fromfile('configs/predsim/resnet32_k16_stl10.py').model
    head = _drawn(make_head(cfg.aux_head, make_context((64, 24, 24))))
    y = torch.randn(6, 64, 24, 24, dtype=torch.float64, requires_grad=True)
    columns = [y[..., 8 * j : 8 * j + 8].sum(3) for j in range(3)]
    rows = [torch.stack([c[:, :, :8].sum(2), c[:, :, 8:].sum(2)], 2) for c in columns]
    pooled = torch.stack(rows, 3) / (16 * 8)
    expected = 0.01 * cross_entropy(head.prediction[-1](pooled.flatten(1)), LABELS)
    loss = head.loss(y, batch)['loss_task']
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    found, wanted = (torch.autograd.grad(x, y)[0] for x in (loss, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=0)
