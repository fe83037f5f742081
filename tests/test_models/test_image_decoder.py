"""InfoPro's decoders: the cheap order is the same function, and the widths are InfoPro's.

With the decoder for ImageNet comes the classifier beside it, whose widths follow a rule too.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from mman.models.aux_heads.image_decoder import ImageDecoder, ImageNetDecoder, ResizedConv2d
from mman.utils.fake_copy import fake_copy
from mman.utils.flop_count import OperationCount
from mman.utils.live_bytes import LiveBytes
from tests.helpers.heads import make_batch, make_context, make_head


@pytest.mark.parametrize('kernel', [1, 3])
@pytest.mark.parametrize(
    ('channels', 'small', 'large'),
    [
        (64, (8, 8), (32, 32)),
        (32, (16, 16), (32, 32)),
        (16, (5, 7), (9, 21)),
        (16, (3, 4), (3, 8)),
        (8, (1, 2), (4, 4)),
        (8, (6, 6), (3, 3)),
        (4, (8, 8), (8, 8)),
    ],
)
def test_factored_is_the_same_function(channels, small, large, kernel):
    """Output and all gradients, against resize and convolution by torch."""
    torch.manual_seed(0)
    conv = ResizedConv2d(channels, 12, kernel, large, factored=True).double()
    x = torch.randn(3, channels, *small, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(3, 12, *large, dtype=torch.float64)
    up = F.interpolate(x, large, mode='bilinear', align_corners=True)
    expected = F.conv2d(up, conv.weight, conv.bias, padding=kernel // 2)
    inputs = [x, conv.weight, conv.bias]
    torch.testing.assert_close(conv(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(conv(x), inputs, grad),
        torch.autograd.grad(expected, inputs, grad),
        rtol=1e-11,
        atol=1e-11,
    )


def test_the_factored_path_is_taken():
    """Else the test above would compare torch with torch."""
    conv = ResizedConv2d(64, 12, 3, (32, 32), factored=True)
    x = torch.randn(2, 64, 8, 8)
    assert conv._pays(8, 8)
    assert not torch.equal(conv(x), ResizedConv2d.forward(_usual(conv), x))
    assert not ResizedConv2d(12, 3, 3, (224, 224), factored=True)._pays(112, 112)


def _usual(conv):
    usual = ResizedConv2d(conv.in_channels, conv.out_channels, 3, conv.size, factored=False)
    usual.load_state_dict(conv.state_dict())
    return usual


@pytest.mark.parametrize('order', ['factored', 'resize_first'])
def test_factored_never_makes_the_resized_map(order):
    decoder = ImageDecoder(64, (3, 32, 32), 1.0, order)
    with fake_copy(decoder) as copied:
        x = torch.empty(16, 64, 8, 8, requires_grad=True)
        with LiveBytes([x, *copied.parameters(), *copied.buffers()]) as live:
            base = live.now
            copied(x).sum().backward()
    resized = 4 * 16 * 64 * 32 * 32
    assert (live.peak - base < resized) == (order == 'factored')


def test_the_matrices_are_made_once_and_only_of_real_tensors():
    """Whatever comes first: a fake pass or inference leaves nothing that training would use."""
    size = (19, 23)  # of no other test
    conv = ResizedConv2d(64, 12, 3, size, factored=True)
    x = torch.randn(2, 64, 8, 8)
    with fake_copy(conv) as copied:
        copied(torch.empty(2, 64, 8, 8))
    with torch.inference_mode():
        expected = conv(x)
    with OperationCount() as first:
        out = conv(x)
    out.sum().backward()
    with OperationCount() as later:
        again = conv(x)
    assert torch.equal(out, expected) and torch.equal(again, expected)
    # Two matrices, each of an eye, a resize, a border and a concatenation.
    assert first.total - later.total == 8
    with fake_copy(conv) as copied:
        assert type(copied(torch.empty(2, 64, 8, 8))) is FakeTensor
    assert set(conv.state_dict()) == {'weight', 'bias'}


def test_conv_first_is_another_network_with_the_same_shapes():
    torch.manual_seed(0)
    decoders = {
        order: ImageDecoder(64, (3, 32, 32), 1.0, order) for order in ('factored', 'conv_first')
    }
    decoders['conv_first'].load_state_dict(decoders['factored'].state_dict())
    x = torch.randn(2, 64, 8, 8)
    hidden = F.relu(
        F.batch_norm(
            F.conv2d(x, *decoders['conv_first'].decoder[0].parameters(), padding=1),
            None,
            None,
            torch.ones(12),
            torch.zeros(12),
            training=True,
        )
    )
    up = F.interpolate(hidden, (32, 32), mode='bilinear', align_corners=True)
    expected = F.conv2d(up, *decoders['conv_first'].decoder[3].parameters(), padding=1)
    torch.testing.assert_close(decoders['conv_first'](x), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(decoders['factored'](x), expected, atol=1e-2)


def _layers(decoder):
    """(kernel, channels, side) of every convolution."""
    return [
        (conv.kernel_size[0], conv.out_channels, getattr(conv, 'size', (None,))[0])
        for conv in decoder.decoder
        if isinstance(conv, nn.Conv2d)
    ]


# (C, side) of features -> convolutions of the decoder. InfoPro gives the first two;
# the others, which blocks of ResNets also end with on 224 pixels, follow from its rule by hand.
TO_112 = [(3, 12, 112), (3, 3, 224)]
TO_56 = [(3, 32, 56), *TO_112]
DECODERS = {
    (512, 28): [(1, 128, None), *TO_56],
    (1024, 14): [(1, 192, None), (1, 64, 28), *TO_56],
    (64, 56): [(1, 72, None), *TO_112],
    (128, 28): [(1, 80, None), *TO_56],
    (256, 56): [(1, 96, None), *TO_112],
    (256, 14): [(1, 96, None), (1, 64, 28), *TO_56],
    (512, 7): [(1, 128, None), (1, 128, 14), (1, 64, 28), *TO_56],
    (2048, 7): [(1, 320, None), (1, 128, 14), (1, 64, 28), *TO_56],
}


@pytest.mark.parametrize(('channels', 'side'), DECODERS)
def test_imagenet_decoders_are_the_published_ones(channels, side):
    """METHOD: InfoPro's decoders, BatchNorm and ReLU between their convolutions."""
    decoder = ImageNetDecoder((channels, side, side), (3, 224, 224), 'factored')
    expected = DECODERS[channels, side]
    assert _layers(decoder) == expected
    norms = [layer for layer in decoder.decoder if isinstance(layer, nn.BatchNorm2d)]
    assert [norm.num_features for norm in norms] == [outputs for _, outputs, _ in expected[:-1]]
    kinds = [type(layer) for layer in decoder.decoder]
    assert kinds[1:] == [nn.BatchNorm2d, nn.ReLU, ResizedConv2d] * (len(expected) - 1)


@pytest.mark.parametrize(('channels', 'side'), DECODERS)
def test_imagenet_heads_of_every_width(channels, side):
    """METHOD: InfoPro's classifier, of which the first layer alone follows the width."""
    context = make_context((channels, side, side), (3, 224, 224), num_classes=1000)
    weights = dict(reconstruction_weight=5.0, task_weight=0.75)
    head = make_head(dict(type='InfoProImageNetAuxHead', **weights), context)
    narrow = {64: 16, 128: 32, 256: 64, 512: 128, 1024: 256, 2048: 512}[channels]
    convolutions = [layer for layer in head.aux_net if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size, c.stride) for c in convolutions] == [
        (channels, narrow, (1, 1), (1, 1)),
        (narrow, 256, (3, 3), (2, 2)),
        (256, 512, (3, 3), (2, 2)),
        (512, 2048, (1, 1), (1, 1)),
    ]
    assert all(c.bias is None for c in convolutions)
    block = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    tail = [nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear]
    assert [type(layer) for layer in head.aux_net] == block * 4 + tail
    assert (head.aux_net[-1].in_features, head.aux_net[-1].out_features) == (2048, 1000)
    with fake_copy(head) as copied:
        batch = make_batch(torch.empty(2, 3, 224, 224), [0, 0])
        losses = copied.loss(torch.empty(2, channels, side, side), batch)
    assert {value.shape for value in losses.values()} == {()} and len(losses) == 2


@pytest.mark.parametrize(
    'shape',
    [*((c, side, side) for c, side in DECODERS),
     (64, 112, 112), (64, 224, 224), (64, 20, 20)],
)  # fmt: skip
@pytest.mark.parametrize('order', ['factored', 'resize_first'])
def test_imagenet_decoders_of_any_width_give_the_image(shape, order):
    with fake_copy(ImageNetDecoder(shape, (3, 224, 224), order)) as copied:
        assert copied(torch.empty(2, *shape)).shape == (2, 3, 224, 224)


def test_imagenet_orders_agree():
    torch.manual_seed(0)
    ours = ImageNetDecoder((64, 4, 4), (3, 64, 64), 'factored').double()
    theirs = ImageNetDecoder((64, 4, 4), (3, 64, 64), 'resize_first').double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 64, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-10, atol=1e-10)
