"""The MLP and the heads that train it on vectors, against loops written out in float64."""

import pytest
import torch
import torch.nn.functional as F

from mman.registry import MODELS
from mman.utils import UserError
from tests.helpers.float64 import assert_same, batches, double_model, train

ADAM = dict(type='Adam', lr=1e-2)
# A bias before BatchNorm has no gradient but rounding, of which Adam would make steps.
SGD = dict(type='SGD', lr=0.1, momentum=0.9)
SHAPE = (1, 4, 4)


def _cfg(aux_head, num_blocks, head='LinearClsHead', loss_weight=1.0, **backbone):
    widths = backbone.get('widths', (12, 10, 9))
    return dict(
        type='LocalImageClassifier',
        backbone=dict(type='MLP', in_features=16, **{'widths': widths, **backbone}),
        splitter=dict(
            type='LocalBlockSplitter', num_blocks=num_blocks, strategy='uniform', stem='own'
        ),
        input_shape=SHAPE,
        aux_head=aux_head,
        head=dict(
            type=head,
            num_classes=10,
            in_channels=widths[-1],
            loss=dict(type='CrossEntropyLoss', loss_weight=loss_weight),
        ),
    )


def _copied(model):
    """The parameters as plain tensors to train."""
    return {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}


def _steps(parameters, data, losses_of, optimizer):
    """Steps on the sum of all local losses, which reach only their own blocks."""
    optimizer = dict(optimizer)
    optimizer = getattr(torch.optim, optimizer.pop('type'))(parameters.values(), **optimizer)
    found = []
    torch.manual_seed(2)
    for images, labels in data:
        losses = losses_of(images.reshape(len(images), -1), labels)
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
        found.append(torch.stack(losses).detach())
    return found


def test_mono_forward_is_its_loop_for_twelve_iterations():
    """Hidden layers by their projections alone; the last projection is the classifier."""
    head = dict(type='LinearAuxHead', bias=False)
    model = double_model(_cfg(head, 2, 'ProjectionClsHead', widths=(12, 10)))
    assert model.block_ends == ['stem', '1.1']
    w, data = _copied(model), batches(SHAPE)

    def losses_of(x, labels):
        losses = []
        for k, projection in enumerate(('aux_heads.0.fc.weight', 'head.fc.weight')):
            weight, bias = (w[f'backbone.layers.{k}.linear.{key}'] for key in ('weight', 'bias'))
            x = torch.clamp(x.detach() @ weight.T + bias, min=0)
            goodness = x @ w[projection].T
            losses.append(-goodness.log_softmax(1)[torch.arange(len(x)), labels].mean())
        return losses

    expected = _steps(w, data, losses_of, ADAM)
    found = train(model, data, ADAM)
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=1e-9, atol=0)
    assert_same(dict(model.named_parameters()), w)
    # It predicts by the largest goodness of the last layer.
    x = data[0][0].reshape(6, -1)
    for k in range(2):
        layer = model.backbone.layers[k].linear
        x = torch.clamp(x @ layer.weight.T + layer.bias, min=0)
    model.eval()
    assert torch.allclose(model(data[0][0]), x @ model.head.fc.weight.T)


def _similarities(vectors):
    centred = vectors - vectors.mean(1, keepdim=True)
    directions = centred / centred.norm(dim=1, keepdim=True)
    return directions @ directions.T


def test_predsim_is_its_loop_for_twelve_iterations():
    """Three hidden layers with losses of their own, and the classifier on what they made.

    As in the authors' code, dropout follows the local loss.
    """
    cfg = _cfg(
        dict(type='PredSimAuxHead', similarity_weight=0.9, prediction_weight=0.1),
        4,
        loss_weight=0.1,
        norm_cfg=dict(type='BN1d'),
        act_cfg=dict(type='LeakyReLU', negative_slope=0.01),
        dropout=0.3,
    )
    model = double_model(cfg)
    assert model.block_ends == ['stem', '1.0', '1.1', '1.2']
    assert all(head.prediction.weight.abs().max() == 0 for head in model.aux_heads)
    w, data = _copied(model), batches(SHAPE)

    def losses_of(x, labels):
        losses, wanted = [], _similarities(F.one_hot(labels, 10).double())
        for k in range(3):
            own = {
                name.removeprefix(f'backbone.layers.{k}.'): value
                for name, value in w.items()
                if name.startswith(f'backbone.layers.{k}.')
            }
            if k:
                x = F.dropout(x, 0.3)
            x = x.detach() @ own['linear.weight'].T + own['linear.bias']
            x = (x - x.mean(0)) / (x.var(0, correction=0) + 1e-5).sqrt()
            x = x * own['norm.weight'] + own['norm.bias']
            x = torch.where(x > 0, x, 0.01 * x)
            similar = _similarities(x @ w[f'aux_heads.{k}.similarity.0.weight'].T)
            scores = F.linear(
                x, w[f'aux_heads.{k}.prediction.weight'], w[f'aux_heads.{k}.prediction.bias']
            )
            losses.append(
                0.9 * ((similar - wanted) ** 2).mean() + 0.1 * F.cross_entropy(scores, labels)
            )
        scores = F.linear(F.dropout(x.detach(), 0.3), w['head.fc.weight'], w['head.fc.bias'])
        return [*losses, 0.1 * F.cross_entropy(scores, labels)]

    expected = _steps(w, data, losses_of, SGD)
    found = train(model, data, SGD)
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=1e-9, atol=0)
    assert_same(dict(model.named_parameters()), w)


def test_dropout_comes_after_what_a_local_loss_sees():
    mlp = MODELS.build(dict(type='MLP', in_features=16, widths=[500, 400], dropout=0.5)).train()
    kept = {}
    for k, layer in enumerate(mlp.layers):
        layer.linear.register_forward_hook(lambda m, args, out, k=k: kept.update({k: args[0]}))
        layer.register_forward_hook(lambda m, args, out, k=k: kept.update({-1 - k: out}))
    (features,) = mlp(torch.randn(20, *SHAPE))
    assert (kept[0] == 0).sum() == 0
    for before, after in ((kept[-1], kept[1]), (kept[-2], features)):
        positive = before > 0
        dropped = (after[positive] == 0).double().mean().item()
        assert dropped == pytest.approx(0.5, abs=0.05)
        kept_ones = positive & (after != 0)
        assert torch.allclose(after[kept_ones], 2 * before[kept_ones])


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(in_features=0), 'in_features=0 of MLP should be an integer from 1 on'),
        (dict(widths=[]), r'widths=\[\] of MLP should be one or more integers above 0'),
        (dict(widths=[8, 0]), 'widths'),
        (dict(dropout=1.0), 'dropout=1.0 of MLP should be a number from 0 to below 1'),
    ],
)
def test_bad_arguments(cfg, message):
    with pytest.raises(UserError, match=message):
        MODELS.build(dict(dict(type='MLP', in_features=16, widths=[8]), **cfg))


def test_a_bias_is_there_or_not():
    with pytest.raises(UserError, match='bias=0 of LinearAuxHead should be True or False'):
        MODELS.build(_cfg(dict(type='LinearAuxHead', bias=0), 2))


@pytest.mark.parametrize(
    'head',
    [
        dict(type='DGLAuxHead'),
        dict(type='AugLocalAuxHead'),
        dict(type='InfoProAuxHead', reconstruction_weight=1, task_weight=1),
        dict(type='InfoProImageNetAuxHead', reconstruction_weight=1, task_weight=1),
        dict(type='FeatureReconstructionAuxHead'),
        dict(type='MomentumAuxHead', host=dict(type='DGLAuxHead')),
    ],
    ids=lambda head: head['type'],
)
def test_heads_that_need_places_refuse_vectors(head):
    with pytest.raises(UserError, match=r'block 0 gives vectors \(1[02],\)') as error:
        MODELS.build(_cfg(head, 2))
    assert '\n' not in str(error.value)
