"""PredSim against its formulas, written again in numpy and float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample

from mman.models.aux_heads import LocalBatch
from tests.helpers.heads import make_context, make_head

LABELS = [0, 1, 1, 9, 0, 5]


def _head(shape=(6, 5, 4), index=0, **cfg):
    return make_head(dict(type='PredSimAuxHead', **cfg), make_context(shape, index=index))


def _features(shape=(6, 5, 4)):
    # Channels of different spread, as what is compared are spreads.
    return torch.randn(6, *shape) * torch.rand(6, shape[0], 1, 1)


def _batch(scores=None):
    samples = [DataSample().set_gt_label(label) for label in LABELS]
    for sample, score in zip(samples, () if scores is None else scores, strict=False):
        sample.set_gt_score(score)
    return LocalBatch(torch.zeros(6, 3, 16, 16), samples)


def _convolved(x, weight):
    """A 3 x 3 convolution with zero padding, tap by tap."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return sum(
        np.einsum('oc,nchw->nohw', weight[:, :, i, j], padded[:, :, i : i + height, j : j + width])
        for i in range(3)
        for j in range(3)
    )


def _expected_similarity(head, x, label_vectors, summary):
    """Mean square difference of the two matrices of correlation coefficients."""
    weight = head.similarity[0].weight.detach().double().numpy()
    found = summary(_convolved(x.double().numpy(), weight))
    return np.mean((np.corrcoef(found) - np.corrcoef(label_vectors)) ** 2)


def _spread(maps):
    return maps.reshape(*maps.shape[:2], -1).std(axis=2, ddof=1)


def _values(maps):
    return maps.reshape(len(maps), -1)


def _expected_prediction(head, pooled, label_vectors):
    """Cross-entropy of the linear layer on the pooled features."""
    layer = head.prediction[-1]
    weight, bias = (p.detach().double().numpy() for p in (layer.weight, layer.bias))
    logits = pooled.double().numpy().reshape(len(pooled), -1) @ weight.T + bias
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -(label_vectors * log_p).sum(axis=1).mean()


def test_loss_of_labels():
    head, x = _head(), _features()
    losses = head.loss(x, _batch())
    one_hot = np.eye(10)[LABELS]
    similarity = _expected_similarity(head, x, one_hot, _spread)
    assert list(losses) == ['loss_similarity', 'loss_task']
    assert losses['loss_similarity'].item() == pytest.approx(0.99 * similarity, rel=1e-5)
    expected = 0.01 * _expected_prediction(head, x, one_hot)
    assert losses['loss_task'].item() == pytest.approx(expected, rel=1e-5)


def test_loss_of_scores_after_mixup():
    head, x = _head(similarity_weight=2.0, prediction_weight=[0.5, 1.0]), _features()
    scores = torch.rand(6, 10).pow(4)
    scores /= scores.sum(dim=1, keepdim=True)
    losses = head.loss(x, _batch(scores))
    vectors = scores.double().numpy()
    similarity = _expected_similarity(head, x, vectors, _spread)
    assert losses['loss_similarity'].item() == pytest.approx(2 * similarity, rel=1e-5)
    expected = 0.5 * _expected_prediction(head, x, vectors)
    assert losses['loss_task'].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ('shape', 'std', 'summary'),
    [
        ((6, 5, 4), False, _values),
        ((6, 1, 1), True, _values),
        ((3, 5, 4), True, _values),
        ((4, 5, 4), True, _spread),
    ],
)
def test_what_is_compared(shape, std, summary):
    head, x = _head(shape, similarity_std=std), _features(shape)
    expected = 0.99 * _expected_similarity(head, x, np.eye(10)[LABELS], summary)
    assert head.loss(x, _batch())['loss_similarity'].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ('shape', 'limit', 'grid'),
    [
        ((16, 32, 32), 4096, (16, 16)),
        ((16, 32, 32), 512, (4, 8)),
        ((16, 32, 32), 511, (4, 4)),
        ((32, 16, 16), 512, (4, 4)),
        ((64, 8, 8), 512, (2, 4)),
        ((64, 8, 8), 4096, (8, 8)),
        ((16, 96, 96), 512, (3, 6)),
        ((16, 5, 5), 100, (2, 3)),
        ((1024, 4, 4), 512, (1, 1)),
    ],
)
def test_pooling_of_the_prediction(shape, limit, grid):
    head = _head(shape, pooled_features=limit)
    pooled = head.prediction[:1](torch.zeros(2, *shape))
    assert tuple(pooled.shape[2:]) == grid
    assert head.prediction[-1].in_features == shape[0] * grid[0] * grid[1]


def test_prediction_of_pooled_features():
    head, x = _head((4, 8, 8), pooled_features=32), _features((4, 8, 8))
    pooled = x.reshape(6, 4, 2, 4, 4, 2).mean(dim=(3, 5))
    expected = 0.01 * _expected_prediction(head, pooled, np.eye(10)[LABELS])
    assert head.loss(x, _batch())['loss_task'].item() == pytest.approx(expected, rel=1e-5)


def test_gradients_reach_everything():
    head, x = _head(), _features().requires_grad_(True)
    for key in ('loss_similarity', 'loss_task'):
        x.grad = None
        head.loss(x, _batch())[key].backward()
        assert x.grad.abs().min() > 0, key
    assert {name for name, _ in head.named_parameters()} == {
        'similarity.0.weight',
        'prediction.2.weight',
        'prediction.2.bias',
    }
    assert all(p.grad.abs().max() > 0 for p in head.parameters())


def test_features_without_spread_train_on():
    """Dead channels: no division by zero, in the loss or in its gradient."""
    head = _head()
    x = torch.zeros(6, 6, 5, 4, requires_grad=True)
    losses = head.loss(x, _batch())
    expected = 0.99 * np.mean(np.corrcoef(np.eye(10)[LABELS]) ** 2)
    assert losses['loss_similarity'].item() == pytest.approx(expected, rel=1e-5)
    sum(losses.values()).backward()
    assert all(g.isfinite().all() for g in [x.grad, *(p.grad for p in head.parameters())])


def test_similarities_are_compared_in_float32_under_autocast(monkeypatch):
    seen = []
    mse = F.mse_loss
    monkeypatch.setattr(F, 'mse_loss', lambda a, b: seen.append((a.dtype, b.dtype)) or mse(a, b))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = _head().loss(_features(), _batch())['loss_similarity']
    assert seen == [(torch.float32, torch.float32)]
    assert loss.dtype == torch.float32


def test_only_what_trains_is_built():
    weights = dict(similarity_weight=dict(first=1, last=0), prediction_weight=dict(first=0, last=1))
    first, last = (_head(index=index, **weights) for index in (0, 1))
    assert list(first.loss(_features(), _batch())) == ['loss_similarity']
    assert list(last.loss(_features(), _batch())) == ['loss_task']
    assert {name.split('.')[0] for name, _ in first.named_parameters()} == {'similarity'}
    assert {name.split('.')[0] for name, _ in last.named_parameters()} == {'prediction'}


def test_initialisation():
    head = _head((64, 4, 4))
    head.init_weights()
    std = head.similarity[0].weight.std().item()
    assert std == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(similarity_std=1), 'similarity_std=1 of PredSimAuxHead should be True or False'),
        (dict(pooled_features=0), 'pooled_features=0 of PredSimAuxHead should be an integer'),
        (dict(pooled_features=True), 'pooled_features=True'),
        (dict(pooled_features=64.0), 'pooled_features=64.0'),
        (
            dict(similarity_weight=0, prediction_weight=0),
            'similarity_weight, prediction_weight are all 0 there',
        ),
        (dict(prediction_weight='a'), "prediction_weight='a' should be a number"),
        (dict(shape=(17, 64)), '17 patch tokens of block 0 do not lie in a grid'),
    ],
)
def test_bad_arguments(cfg, message):
    with pytest.raises(ValueError, match=message):
        _head(**cfg)
