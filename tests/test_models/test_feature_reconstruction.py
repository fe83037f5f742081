"""The feature-reconstruction head against loops written out in float64."""

import copy

import pytest
import torch
import torch.nn.functional as F

from mman.utils import UserError
from tests.helpers.float64 import assert_same, batches, double_model, train
from tests.helpers.heads import make_batch, make_context, make_head
from tests.helpers.settings import model_cfg

SGD = dict(type='SGD', lr=0.05, momentum=0.9)
SHAPE = (3, 16, 16)


def _normalised(x, dims, shape, layer):
    mean = x.mean(dims, keepdim=True)
    var = ((x - mean) ** 2).mean(dims, keepdim=True)
    return (x - mean) / (var + 1e-5).sqrt() * layer.weight.view(shape) + layer.bias.view(shape)


def _map_loss(head, y, target):
    """Resize, 3 x 3, BatchNorm, ReLU, 3 x 3."""
    first, norm, _, last = head.decoder
    y = F.interpolate(y, target.shape[2:], mode='bilinear', align_corners=True)
    y = F.conv2d(y, first.weight, first.bias, padding=1)
    y = _normalised(y, (0, 2, 3), (1, -1, 1, 1), norm).clamp(min=0)
    y = F.conv2d(y, last.weight, last.bias, padding=1)
    return ((y - target) ** 2).mean()


def _token_loss(head, y, target):
    """Token by token: linear, LayerNorm, GELU, linear."""
    first, norm, _, last = head.decoder
    y = _normalised(y @ first.weight.T + first.bias, -1, (1, 1, -1), norm)
    y = 0.5 * y * (1 + torch.erf(y / 2**0.5))
    y = y @ last.weight.T + last.bias
    return ((y - target) ** 2).mean()


def _patches(y):
    """The 16 patch tokens after the class token, in their grid."""
    return y[:, 1:].transpose(1, 2).reshape(len(y), -1, 4, 4)


@pytest.mark.parametrize('backbone', ['cifar_resnet20', 'vit'])
def test_twelve_iterations_are_those_of_the_loop(backbone):
    cfg = model_cfg('features', backbone, num_blocks=3, strategy='uniform', stem='own')
    cfg['aux_head'].update(reconstruction_weight=[0.5, 2.0], task_weight=[1.0, 0.25])
    del cfg['data_preprocessor']
    model = double_model(cfg)
    other, data = copy.deepcopy(model), batches(SHAPE)
    sgd = torch.optim.SGD(other.parameters(), lr=0.05, momentum=0.9)
    expected = []
    for images, labels in data:
        x, losses = images, []
        for k, (units, head) in enumerate(zip(other.block_units, other.aux_heads, strict=False)):
            y = given = x.detach()
            for unit in units:
                y = unit.within(other.backbone).module(y)
            if backbone == 'vit':
                pooled = y[:, 0]
                # The first block is given images, the second tokens.
                rebuilt = _token_loss(head, y, given) if k else _map_loss(head, _patches(y), given)
            else:
                pooled, rebuilt = y.mean((2, 3)), _map_loss(head, y, given)
            scores = pooled @ head.fc.weight.T + head.fc.bias
            task = F.cross_entropy(scores, labels)
            losses.append((0.5, 2.0)[k] * rebuilt + (1.0, 0.25)[k] * task)
            x = y
        y = x.detach()
        for unit in other.block_units[-1]:
            y = unit.within(other.backbone).module_with_output(y)
        y = y.mean((2, 3)) if y.ndim == 4 else y
        losses.append(F.cross_entropy(other.head.fc(y), labels))
        sgd.zero_grad()
        sum(losses).backward()
        sgd.step()
        expected.append(torch.stack(losses).detach())
    found = train(model, data, SGD)
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=1e-8, atol=0)
    assert_same(dict(model.named_parameters()), dict(other.named_parameters()))


def test_the_batch_of_a_block_shares_what_was_made():
    batch = make_batch(torch.rand(2, *SHAPE), [0, 1])
    first, second = (batch.for_block(torch.rand(2, 4)) for _ in range(2))
    assert first.image is second.image is batch.image and first.target is batch.target
    assert first.block_input is not second.block_input
    with pytest.raises(AttributeError, match='has no block_input'):
        _ = batch.block_input


def test_a_block_tells_its_head_what_it_was_given():
    model = double_model(model_cfg('features', num_blocks=3, strategy='uniform'))
    # Blocks keep the function that a head had when they were made.
    model._local_blocks, seen = None, []
    for head in model.aux_heads:
        loss = head.loss
        head.loss = lambda x, batch, loss=loss: seen.append(batch.block_input) or loss(x, batch)
    given = []
    for block in model.local_blocks:
        block.register_forward_pre_hook(lambda m, args: given.append(args[0]))
    (data, *_) = batches(SHAPE)
    train(model, [data], SGD)
    assert len(seen) == 2 and all(a is b for a, b in zip(seen, given, strict=False))
    assert torch.equal(seen[0], data[0]) and not any(x.requires_grad for x in seen)


def _head(shape, given, extra=0, **cfg):
    context = make_context(shape, index=1, num_extra_tokens=extra, block_input_shape=given)
    return make_head(dict(cfg, type='FeatureReconstructionAuxHead'), context)


def test_only_what_trains_is_built():
    for cfg, built in (
        (dict(reconstruction_weight=[0, 0.0]), 'fc'),
        (dict(task_weight=[1, 0]), 'decoder'),
    ):
        head = _head((8, 4, 4), (4, 8, 8), **cfg)
        assert {name.split('.')[0] for name, _ in head.named_parameters()} == {built}
        assert head.has_classifier == (built == 'fc')


@pytest.mark.parametrize(
    ('shape', 'given', 'message'),
    [
        ((16, 8), (17, 8), r'from as many tokens, but block 1 makes \(16, 8\) of \(17, 8\)'),
        ((8, 4, 4), (16, 8), r'block 1 makes \(8, 4, 4\) of \(16, 8\)'),
        ((17, 8), (3, 16, 16), '17 patch tokens of block 1 do not lie in a grid'),
        ((8,), (8,), r'block 1 gives vectors \(8,\)'),
    ],
)
def test_what_cannot_be_rebuilt_is_refused(shape, given, message):
    with pytest.raises(UserError, match=message):
        _head(shape, given)


def test_a_block_must_train():
    with pytest.raises(UserError, match='reconstruction_weight, task_weight are all 0 there'):
        _head((8, 4, 4), (4, 8, 8), reconstruction_weight=0, task_weight=0)
