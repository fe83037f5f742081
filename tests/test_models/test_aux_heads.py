"""Every host head against its formula, written again in plain torch."""

import math

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from torch import nn

from mman.models.aux_heads import AuxHead, LocalBatch
from mman.models.classifiers.checks import check_aux_heads
from mman.models.losses import SupConLoss
from tests.helpers.heads import make_batch, make_context, make_head

MEAN = torch.tensor([125.3, 123.0, 113.9]).view(3, 1, 1)
STD = torch.tensor([63.0, 62.1, 66.7]).view(3, 1, 1)


def _batch(count=6, image=16):
    torch.manual_seed(1)
    pixels = torch.randint(0, 256, (count, 3, image, image)).float()
    labels = [0, 1, 1, 2, 0, 5][:count]
    batch = make_batch((pixels - MEAN) / STD, labels, MEAN, STD)
    return batch, pixels / 255, torch.tensor(labels)


def _head(type, shape=(16, 8, 8), context=None, **cfg):
    return make_head(dict(type=type, **cfg), context or make_context(shape))


def _layers(module):
    """The layers with parameters, as (kind, in, out, [side, stride,] bias)."""
    found = []
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            side, stride = m.kernel_size[0], m.stride[0]
            found.append(('conv', m.in_channels, m.out_channels, side, stride, m.bias is not None))
        elif isinstance(m, nn.Linear):
            found.append(('fc', m.in_features, m.out_features, m.bias is not None))
        elif isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            found.append(('bn', m.num_features))
    return found


def test_the_batch_restores_its_images_where_a_head_needs_them():
    batch, image, labels = _batch()
    assert torch.allclose(batch.image, image, atol=1e-6)
    assert torch.equal(batch.target, labels)
    labels_alone = batch.without_images()
    assert labels_alone.inputs is None and torch.equal(labels_alone.target, labels)
    without = LocalBatch(batch.inputs, batch.data_samples, with_image=False)
    for bare in (labels_alone, without):
        with pytest.raises(AttributeError, match='no image.*does not set needs_image = True'):
            bare.image  # noqa: B018


def test_a_head_that_reads_the_image_without_saying_so_is_refused_when_built():
    class Reads(AuxHead):
        def loss(self, features, batch):
            return dict(loss=features.mean() * batch.image.mean())

    with pytest.raises(ValueError, match='Reads of block 0 .* does not set needs_image = True'):
        check_aux_heads([Reads(make_context((16, 8, 8)))], (3, 16, 16))
    Reads.needs_image = True
    check_aux_heads([Reads(make_context((16, 8, 8)))], (3, 16, 16))


def test_the_batch_takes_scores_after_mixup():
    scores = torch.rand(2, 10).softmax(1)
    samples = [DataSample().set_gt_label(1).set_gt_score(s) for s in scores]
    assert torch.equal(LocalBatch(torch.zeros(2, 3, 4, 4), samples).target, scores)


def test_linear_is_pooling_one_layer_and_cross_entropy():
    batch, _, labels = _batch()
    head = _head('LinearAuxHead', weight=0.5)
    x = torch.randn(6, 16, 8, 8)
    logits = x.mean((2, 3)) @ head.fc.weight.T + head.fc.bias
    expected = 0.5 * -logits.log_softmax(1)[torch.arange(6), labels].mean()
    assert list(head.loss(x, batch)) == ['loss_task']
    assert torch.allclose(head.loss(x, batch)['loss_task'], expected)


@pytest.mark.parametrize(('side', 'pooled'), [(32, 8), (30, 8), (8, 2), (5, 2), (2, 1)])
def test_dgl_of_the_baselines(side, pooled):
    head = _head('DGLAuxHead', (12, side, side))
    grid = []
    head.head[0].register_forward_hook(lambda m, i, o: grid.append(tuple(i[0].shape[1:])))
    flat = []
    head.head[11].register_forward_hook(lambda m, i, o: flat.append(tuple(i[0].shape[1:])))
    batch, _, labels = _batch()
    x = torch.randn(6, 12, side, side)
    loss = head.loss(x, batch)['loss_task']
    assert grid == [(12, pooled, pooled)] and flat == [(12 * 2 * 2,)]
    conv = [('conv', 12, 12, 1, 1, False), ('bn', 12)]
    hidden = [('fc', 48, 48, False), ('bn', 48)]
    assert _layers(head) == [*conv, *conv, *conv, *hidden, *hidden, ('fc', 48, 10, True)]
    assert torch.allclose(loss, F.cross_entropy(head.head(head.pool(x)), labels))


def test_dgl_of_the_manpp_release():
    head = _head('DGLAuxHead', variant='manpp')
    assert _layers(head) == [
        *[('conv', 16, 128, 1, 1, False), ('bn', 128)],
        *[('conv', 128, 128, 1, 1, False), ('bn', 128)] * 2,
        *[('fc', 128, 512, True), ('bn', 512)],
        *[('fc', 512, 512, True), ('bn', 512)] * 2,
        ('fc', 512, 10, True),
    ]


@pytest.mark.parametrize(
    ('net', 'channels', 'widen', 'expected'),
    [
        ('2c2f', 16, 1, [('conv', 16, 32, 3, 2), ('conv', 32, 32, 3, 1), (32, 128), (128, 10)]),
        ('2c2f', 32, 1, [('conv', 32, 64, 3, 2), ('conv', 64, 64, 3, 1), (64, 128), (128, 10)]),
        ('1c2f', 64, 1, [('conv', 64, 64, 3, 1), (64, 128), (128, 10)]),
        ('1c3f', 16, 2, [('conv', 16, 64, 3, 2), (64, 256), (256, 256), (256, 10)]),
        ('0c1f', 16, 1, [(16, 10)]),
        ('0c2f', 48, 1, [(48, 128), (128, 10)]),
    ],
)
def test_infopro_aux_nets(net, channels, widen, expected):
    head = _head(
        'InfoProAuxHead',
        (channels, 8, 8),
        reconstruction_weight=0,
        task_weight=1,
        net=net,
        widen=widen,
    )
    layers = [layer for layer in _layers(head) if layer[0] != 'bn']
    layers = [layer[:5] if layer[0] == 'conv' else layer[1:3] for layer in layers]
    assert layers == expected


@pytest.mark.parametrize('side', [8, 16])
def test_infopro_loss(side):
    batch, image, labels = _batch()
    head = _head(
        'InfoProAuxHead', (16, side, side), reconstruction_weight=3.0, task_weight=[0.25, 1.0]
    )
    x = torch.randn(6, 16, side, side)
    losses = head.loss(x, batch)
    resized = F.interpolate(x, (16, 16), mode='bilinear', align_corners=True)
    rebuilt = head.decoder.decoder(resized).sigmoid()
    bce = -(image * rebuilt.log() + (1 - image) * (1 - rebuilt).log()).mean()
    assert torch.allclose(losses['loss_reconstruction'], 3 * bce, rtol=1e-5)
    task = F.cross_entropy(head.aux_net(x), labels)
    assert torch.allclose(losses['loss_task'], 0.25 * task)
    assert _layers(head.decoder) == [
        ('conv', 16, 12, 3, 1, True),
        ('bn', 12),
        ('conv', 12, 3, 3, 1, True),
    ]


def test_infopro_builds_only_what_it_trains():
    cfg = dict(reconstruction_weight=dict(first=5, last=0), task_weight=dict(first=0, last=2))
    first = _head('InfoProAuxHead', context=make_context((16, 8, 8)), **cfg)
    last = _head('InfoProAuxHead', context=make_context((16, 8, 8), index=1), **cfg)
    batch, _, _ = _batch()
    x = torch.randn(6, 16, 8, 8)
    assert list(first.loss(x, batch)) == ['loss_reconstruction']
    assert list(last.loss(x, batch)) == ['loss_task']
    assert {n.split('.')[0] for n, _ in first.named_parameters()} == {'decoder'}
    assert {n.split('.')[0] for n, _ in last.named_parameters()} == {'aux_net'}


def test_supcon_is_its_double_loop():
    torch.manual_seed(0)
    features, labels = torch.randn(7, 5), torch.tensor([0, 1, 0, 2, 1, 1, 3])
    z = features / features.norm(dim=1, keepdim=True)
    total = 0.0
    for i in range(7):
        others = [j for j in range(7) if j != i]
        denominator = sum(math.exp(float(z[i] @ z[j]) / 0.1) for j in others)
        same = [j for j in others if labels[j] == labels[i]]
        # An anchor alone in its class counts as zero, but counts.
        if same:
            total -= sum(
                math.log(math.exp(float(z[i] @ z[j]) / 0.1) / denominator) for j in same
            ) / len(same)
    assert SupConLoss(0.1)(features, labels).item() == pytest.approx(total / 7, rel=1e-5)


def test_supcon_refuses_scores():
    with pytest.raises(ValueError, match='needs class indices.*Mixup'):
        SupConLoss()(torch.randn(2, 5), torch.rand(2, 10))


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(type='InfoProAuxHead', net='2x2'), "net='2x2' of InfoProAuxHead should be like"),
        (dict(type='InfoProAuxHead', net='2c0f'), "net='2c0f'"),
        (dict(type='InfoProAuxHead', task_loss='mse'), "task_loss='mse'"),
        (dict(type='InfoProAuxHead', widen=0), 'widen=0'),
        (dict(type='InfoProAuxHead', task_weight=0, reconstruction_weight=0), 'train on nothing'),
        (dict(type='DGLAuxHead', variant='big'), "variant='big'"),
        (dict(type='DGLAuxHead', weight=0), 'weight is 0 there'),
        (dict(type='LinearAuxHead', weight=0), 'train on nothing'),
    ],
)
def test_bad_arguments(cfg, message):
    if cfg['type'] == 'InfoProAuxHead':
        cfg = dict(reconstruction_weight=1, task_weight=1) | cfg
    with pytest.raises(ValueError, match=message):
        _head(**cfg)


# --- Tokens ---


def _token_head(type, shape, extra=0, image=(3, 16, 32), **cfg):
    context = make_context(shape, image, num_extra_tokens=extra)
    return _head(type, context=context, **cfg)


def _images(shape):
    return make_batch(torch.rand(6, *shape), (0, 1, 1, 2, 0, 5), 0.0, 255.0)


@pytest.mark.parametrize('extra', [0, 1, 2])
def test_linear_on_tokens_is_the_class_token_or_the_mean_normalised(extra):
    head = _token_head('LinearAuxHead', (32 + extra, 8), extra, norm=dict(type='LN'))
    x = torch.randn(6, 32 + extra, 8)
    pooled = x[:, 0] if extra else x.mean(1)
    centred = pooled - pooled.mean(1, keepdim=True)
    normed = centred / (centred.pow(2).mean(1, keepdim=True) + 1e-5).sqrt()
    logits = normed @ head.fc.weight.T + head.fc.bias
    batch = _images((3, 16, 32))
    expected = F.cross_entropy(logits, batch.target)
    assert head.loss(x, batch)['loss_task'].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize('extra', [0, 1, 2])
@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='DGLAuxHead'),
        dict(type='PredSimAuxHead'),
        dict(type='InfoProAuxHead', reconstruction_weight=1, task_weight=1),
        dict(type='InfoProImageNetAuxHead', reconstruction_weight=1, task_weight=1),
    ],
    ids=lambda cfg: cfg['type'],
)
def test_heads_for_maps_see_the_patches_in_their_grid(cfg, extra):
    """The same head on the same values, once as a map and once as tokens."""
    on_map = _token_head(shape=(8, 4, 8), **cfg)
    on_tokens = _token_head(shape=(32 + extra, 8), extra=extra, **cfg)
    on_tokens.load_state_dict(on_map.state_dict())
    x = torch.randn(6, 8, 4, 8)
    patches = torch.stack([x[:, :, i, j] for i in range(4) for j in range(8)], 1)
    tokens = torch.cat([torch.randn(6, extra, 8), patches], 1)
    batch = _images((3, 16, 32))
    expected, found = on_map.loss(x, batch), on_tokens.loss(tokens, batch)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert found[key].item() == pytest.approx(value.item(), rel=1e-5), key


@pytest.mark.parametrize('type', ['DGLAuxHead', 'PredSimAuxHead'])
def test_tokens_that_lie_in_no_grid_like_the_image_are_refused(type):
    with pytest.raises(ValueError, match='17 patch tokens of block 0 do not lie in a grid'):
        _head(type, (17, 64))
    with pytest.raises(ValueError, match='neither a map .C, H, W. nor tokens .L, C. nor a vec'):
        _head(type, (2, 2, 2, 2))


def test_a_norm_that_cannot_be_built_is_named():
    with pytest.raises(ValueError, match=r"norm=.*'Nope'.* of LinearAuxHead should be None or"):
        _head('LinearAuxHead', (8, 4, 4), norm=dict(type='Nope'))


class _MapsOnly(AuxHead):
    def __init__(self, context):
        super().__init__(context)
        self.require_map()

    def loss(self, features, batch):
        return {}


def test_a_head_may_ask_for_maps():
    with pytest.raises(ValueError, match=r'_MapsOnly needs feature maps.*block 0 gives \(17, 64\)'):
        _MapsOnly(make_context((17, 64)))
