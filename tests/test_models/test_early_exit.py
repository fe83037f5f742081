"""Early exits: the scores that a block's aux head was trained with, and no more work than that."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample

from mman.models import MomentumAuxHead
from mman.models.aux_heads import LocalBatch
from mman.models.classifiers import exit_blocks, exit_logits
from mman.utils import UserError
from tests.helpers.settings import CASES, FAST, METHODS, build_model, in_tiers, start_heads

# All but the one without a classifier.
EXITS = [case for case in CASES if case[0] != 'infopro-contrast']
IMAGES, SIZE = 6, 16


def images(count=IMAGES):
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def moved_model(method, backbone='cifar_resnet20'):
    """A model whose running statistics are not those of the start."""
    model = build_model(method, backbone)
    start_heads(model)
    with torch.no_grad():
        for _ in range(3):
            x = images(16)
            for block, head in zip(model.local_blocks[:-1], model.aux_heads, strict=True):
                for layer in block.layers:
                    x = layer(x)
                head.logits(x)
    return model


@pytest.mark.parametrize(('method', 'backbone'), in_tiers(EXITS, FAST))
def test_scores_are_those_that_are_trained(method, backbone):
    """In train mode their cross-entropy is the task loss, but for its weight."""
    model = build_model(method, backbone)
    start_heads(model)
    head, block = model.aux_heads[1], model.local_blocks
    samples = [DataSample().set_gt_label(k) for k in range(IMAGES)]
    batch = LocalBatch(images(), samples, 0.0, 1.0)
    with torch.no_grad():
        x = images()
        for layer in block[0].layers:
            x = layer(x)
        batch = batch.for_block(x)
        for layer in block[1].layers:
            x = layer(x)
        losses = head.loss(x, batch)
        scores = head.logits(x)
    host = getattr(head, 'host', head)
    weights = ('task_weight', 'prediction_weight', 'weight')
    weight = next(getattr(host, name) for name in weights if hasattr(host, name))
    assert scores.shape == (IMAGES, 10)
    expected = weight * F.cross_entropy(scores, batch.target)
    torch.testing.assert_close(losses['loss_task'], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(('method', 'backbone'), in_tiers(EXITS, FAST[3:6]))
def test_in_eval_mode_an_image_stands_alone(method, backbone):
    model = moved_model(method, backbone).eval()
    assert exit_blocks(model) == [0, 1, 2, 3]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        together = dict(exit_logits(model, images(), range(4)))
        for k in range(4):
            ((_, alone),) = exit_logits(model, images()[2:3], [k])
            torch.testing.assert_close(alone, together[k][2:3], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together[3], model(images()), rtol=0, atol=0)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    for head in model.aux_heads:
        if isinstance(head, MomentumAuxHead):
            assert head.momentum_unit.training


def test_a_momentum_unit_uses_its_running_statistics():
    """The exit of MAN computed by hand, with functions of torch."""
    model = moved_model('man-greedy').eval()
    # Of a unit that changes no shape.
    same = [k for k, h in enumerate(model.aux_heads) if h.momentum_unit.downsample is None]
    assert same
    head, index = model.aux_heads[same[0]], same[0]

    def block(unit, x):
        y = F.conv2d(x, unit.conv1.weight, padding=1)
        y = norm(unit.bn1, y).relu()
        y = norm(unit.bn2, F.conv2d(y, unit.conv2.weight, padding=1))
        return (y + x).relu()

    def norm(bn, x):
        return F.batch_norm(
            x, bn.running_mean, bn.running_var, bn.weight, bn.bias, False, 0, bn.eps
        )

    with torch.no_grad():
        x = images()
        for view in model.local_blocks[: index + 1]:
            for layer in view.layers:
                x = layer(x)
        mixed = block(head.bias_unit, x) + block(head.momentum_unit, x)
        expected = F.linear(mixed.mean((2, 3)), head.host.fc.weight, head.host.fc.bias)
        ((_, scores),) = exit_logits(model, images(), [index])
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)


def test_no_block_behind_the_exit_is_run():
    model = moved_model('dgl').eval()
    called = []
    for block in model.local_blocks:
        for layer in block.layers:
            layer.register_forward_hook(lambda *_, k=block.index: called.append(k))
    with torch.no_grad():
        list(exit_logits(model, images(), [1]))
    assert set(called) == {0, 1}


@pytest.mark.parametrize(
    ('head', 'reason'),
    [
        (dict(METHODS['infopro-contrast']), 'contrast'),
        (dict(type='PredSimAuxHead', prediction_weight=0), 'no prediction'),
        (dict(type='MomentumAuxHead', host=dict(METHODS['infopro-contrast'])), 'the host'),
    ],
)
def test_heads_without_a_classifier_are_no_exits(head, reason, monkeypatch):
    monkeypatch.setitem(METHODS, 'none', head)
    model = build_model('none').eval()
    assert exit_blocks(model) == [3], reason
    with pytest.raises(UserError, match='block 1 is no early exit.* 3'):
        list(exit_logits(model, images(), [1]))
    with pytest.raises(UserError, match='no classifier'):
        model.aux_heads[1].logits(torch.zeros(2, *model.aux_heads[1].context.feature_shape))
    with pytest.raises(UserError, match='block 4 is no early exit'):
        list(exit_logits(model, images(), [4]))
