"""Models of torchvision without their classifiers, and their units."""

from typing import get_type_hints

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.regnet import BlockParams
from torchvision.models.resnet import BasicBlock, Bottleneck

from mman.models.backbones import torchvision_backbone
from mman.models.splitters.adapters import adapter_names
from mman.registry import MODELS
from mman.utils import UserError
from tests.helpers.cutting import POOL, build, check_network, check_units
from tests.helpers.settings import in_tiers

CLASS_TOKEN = dict(type='TokenPooling')


def torchvision_cfg(name, **kwargs):
    return dict(type='TorchvisionBackbone', name=name, **kwargs)


# One of every class, as torchvision makes it, with the image size it is tried on.
PUBLISHED = {
    'alexnet': 64,
    'convnext_tiny': 32,
    'densenet121': 32,
    'efficientnet_b0': 32,
    'googlenet': 32,
    'inception_v3': 80,
    'maxvit_t': 224,
    'mnasnet0_5': 32,
    'mobilenet_v2': 32,
    'mobilenet_v3_small': 32,
    'regnet_y_400mf': 32,
    'resnet18': 32,
    'resnext50_32x4d': 32,
    'shufflenet_v2_x0_5': 32,
    'squeezenet1_1': 32,
    'swin_t': 32,
    'swin_v2_t': 32,
    'vgg11_bn': 32,
    'vit_b_32': 32,
}
ARGUMENTS = {
    'vit_b_32': dict(image_size=32),
    'googlenet': dict(init_weights=False),
    'inception_v3': dict(init_weights=False),
}


def what_the_classifier_is_given(model, backbone, images):
    """In torchvision's own forward, the input of the first thing that a backbone has not."""
    seen = []
    for name in backbone.left_out:
        model.get_submodule(name).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(images)
    return seen[0]


@pytest.mark.parametrize('name', in_tiers(PUBLISHED, ('densenet121', 'swin_t', 'vit_b_32')))
def test_features_are_what_torchvision_classifies(name):
    size, kwargs = PUBLISHED[name], ARGUMENTS.get(name, {})
    plain = models.get_model(name, weights=None, **kwargs).eval()
    backbone = MODELS.build(torchvision_cfg(name, **kwargs)).eval()
    lacking, unknown = backbone.load_state_dict(plain.state_dict(), strict=False)
    assert not lacking
    assert all(key.startswith(tuple(f'{p}.' for p in backbone.left_out)) for key in unknown)
    with torch.no_grad():
        images = torch.randn(2, 3, size, size)
        (found,) = backbone(images)
        given = what_the_classifier_is_given(plain, backbone, images)
    if given.ndim == 2:
        # Pooled by a function before it.
        found = found[:, 0] if found.ndim == 3 else found.mean(dim=(2, 3))
    torch.testing.assert_close(found, given)


def _convnext():
    settings = [models.convnext.CNBlockConfig(8, 16, 2), models.convnext.CNBlockConfig(16, None, 2)]
    return models.ConvNeXt(settings, stochastic_depth_prob=0.3)


def _efficientnet():
    settings = [MBConvConfig(1, 3, 1, 8, 8, 1, 1, 1), MBConvConfig(4, 3, 2, 8, 16, 3, 1, 1)]
    return models.EfficientNet(settings, dropout=0.2, last_channel=32)


def _mobilenet_v3():
    settings = [
        InvertedResidualConfig(8, 3, 8, 8, True, 'RE', 1, 1, 1),
        InvertedResidualConfig(8, 3, 16, 16, False, 'HS', 2, 1, 1),
        InvertedResidualConfig(16, 3, 32, 16, False, 'HS', 1, 1, 1),
    ]
    return models.MobileNetV3(settings, last_channel=32)


# name -> (torchvision's model, image size, neck, channels, units of every stage after the stem)
SMALL = {
    'alexnet': (lambda: models.AlexNet(num_classes=2), 64, POOL, 256, (4,)),
    'convnext': (_convnext, 32, POOL, 16, (2, 1, 2)),
    'densenet': (
        lambda: models.DenseNet(4, (2, 2, 2), 8, drop_rate=0.2),
        *(32, POOL, 16, (2, 1, 2, 1, 2)),
    ),
    'efficientnet': (_efficientnet, 32, POOL, 32, (1, 3, 1)),
    'maxvit': (
        lambda: models.MaxVit((32, 32), 8, 2, [8, 16], [1, 2], 4, 0.2),
        *(32, POOL, 16, (1, 1, 2)),
    ),
    'mnasnet': (lambda: models.MNASNet(0.25), 32, POOL, 1280, (2, 3, 3, 3, 2, 4, 1, 1)),
    'mobilenet_v2': (
        lambda: models.MobileNetV2(width_mult=0.25, inverted_residual_setting=[[1, 16, 2, 2]] * 2),
        *(32, POOL, 1280, (4, 1)),
    ),
    'mobilenet_v3': (_mobilenet_v3, 32, POOL, 96, (3, 1)),
    'regnet': (
        lambda: models.RegNet(BlockParams([2, 2], [8, 16], [8, 8], [1.0, 1.0], [2, 2], 0.25)),
        *(32, POOL, 16, (2, 2)),
    ),
    'resnet': (lambda: models.ResNet(BasicBlock, [1, 1, 1, 1]), 32, POOL, 512, (1, 1, 1, 1)),
    'resnext': (
        lambda: models.ResNet(Bottleneck, [1, 1, 1, 1], groups=4, width_per_group=4),
        *(32, POOL, 2048, (1, 1, 1, 1)),
    ),
    'shufflenet': (
        lambda: models.ShuffleNetV2([1, 2, 1], [8, 16, 24, 32, 48]),
        *(32, POOL, 48, (1, 2, 1, 1)),
    ),
    'squeezenet': (lambda: models.SqueezeNet('1_1'), 32, POOL, 512, (8,)),
    'swin': (
        lambda: models.SwinTransformer([4, 4], 8, [1, 2], [1, 2], [2, 2]),
        *(32, dict(type='GlobalAveragePooling'), 16, (1, 1, 2)),
    ),
    'vgg': (
        lambda: models.VGG(models.vgg.make_layers([8, 'M', 16, 'M', 16, 16, 16], True), 2),
        *(32, POOL, 16, (4,)),
    ),
    'vit': (lambda: models.VisionTransformer(16, 4, 5, 2, 24, 48, 0.1), 16, CLASS_TOKEN, 24, (5,)),
}


# Transposed maps, all maps before, tokens.
every_small = pytest.mark.parametrize('name', in_tiers(SMALL, ('densenet', 'swin', 'vit')))


@pytest.fixture
def small(monkeypatch):
    """Small members of torchvision's classes in the place of its published models."""
    monkeypatch.setattr(torchvision_backbone, '_built', lambda name, kwargs: SMALL[name][0]())
    # What a model of this size is made for.
    images = {name: dict(input_size=(size, size)) for name, (_, size, *_) in SMALL.items()}

    def cfg(name):
        extra = images[name] if name == 'maxvit' else {}
        return torchvision_cfg(name, **extra)

    return cfg


@every_small
def test_a_model_is_cut(small, name):
    check_network(small(name), *SMALL[name][1:])


@pytest.mark.full
@pytest.mark.parametrize(('name', 'count'), [('googlenet', 12), ('inception_v3', 16)])
def test_inception_modules_are_units(name, count):
    backbone = build(torchvision_cfg(name, init_weights=False))
    assert len(check_units(backbone, 80)) == count


def test_every_class_of_torchvision_is_known():
    builders = [models.get_model_builder(name) for name in models.list_models(module=models)]
    kinds = {get_type_hints(builder)['return'] for builder in builders}
    assert kinds == set(torchvision_backbone._ROWS)


def test_the_name_of_an_adapter_is_that_of_the_class():
    assert adapter_names(MODELS.build(torchvision_cfg('resnet18')))[:2] == [
        'torchvision.ResNet',
        'torchvision.Module',
    ]


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (torchvision_cfg('resnet19'), "name='resnet19' is no classifier .*did you mean 'resnet18'"),
        (torchvision_cfg('fcn_resnet50'), "'fcn_resnet50' is no classifier of torchvision"),
        (torchvision_cfg('resnet18', weights='DEFAULT'), "weights='DEFAULT' would be downloaded"),
        (torchvision_cfg('resnet18', depth=3), "'resnet18' does not take these .* 'depth'"),
        (
            torchvision_cfg('googlenet', transform_input=True),
            'transform_input=True changes .* mean and std of data_preprocessor to 127.5',
        ),
    ],
)
def test_what_torchvision_has_not_is_refused(cfg, message):
    with pytest.raises(UserError, match=message):
        MODELS.build(cfg)


def test_the_normalisation_of_googlenet_without_transform_input():
    """What the refusal tells: mean and std of 127.5 are its input transformed."""
    pixels = torch.rand(2, 3, 4, 4) * 255
    mean, std = (
        [v * 255 for v in values] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    usual = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    plain = models.GoogLeNet(init_weights=False, transform_input=True)
    torch.testing.assert_close(plain._transform_input(usual), (pixels - 127.5) / 127.5)


def test_only_what_classifies_is_left_out():
    backbone = MODELS.build(torchvision_cfg('resnet18'))
    assert backbone.left_out == ('avgpool', 'fc')
    names = {name.split('.')[0] for name, _ in backbone.named_parameters()}
    assert names == {'conv1', 'bn1', 'layer1', 'layer2', 'layer3', 'layer4'}
    assert isinstance(backbone.relu, nn.ReLU)
