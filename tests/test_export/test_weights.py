"""export_weights: the same scores in other libraries' networks."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from safetensors import safe_open
from safetensors.torch import load_file

from mman.export import export_weights
from mman.export.to_library import find_target
from mman.registry import MODELS
from mman.utils import UserError
from tests.helpers.converters import (
    RESNET,
    VIT,
    assert_close,
    config_of,
    drawn_model,
    plain_digits,
    plain_scores,
)
from tests.helpers.trained_digits import CONFIG, normalised, write_pictures

NORMALISE = dict(mean=[127.5] * 3, std=[127.5] * 3)


def network_of(library, name, out, **kwargs):
    """The library's own network of seven classes, with the weights of a file."""
    if library == 'timm':
        import timm

        network = timm.create_model(name, num_classes=7, **kwargs)
    else:
        import torchvision

        network = torchvision.models.get_model(name, weights=None, num_classes=7)
    network.load_state_dict(torch.load(out, weights_only=True))
    return network.eval()


def from_torchvision(name, channels):
    """The config of a network of torchvision as one block."""
    return Config(
        dict(
            model=dict(
                type='LocalImageClassifier',
                backbone=dict(type='TorchvisionBackbone', name=name),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=7, in_channels=channels),
                splitter=dict(type='LocalBlockSplitter', num_blocks=1),
                input_shape=(3, 64, 64),
                data_preprocessor=NORMALISE,
            )
        )
    )


def parts_of(cfg):
    """What the search for a library's network looks at, without the network around it."""
    return SimpleNamespace(
        backbone=MODELS.build(cfg.model.backbone), head=MODELS.build(cfg.model.head), _config=cfg
    )


class TestWeights:
    def test_mmpretrain(self, digits, tmp_path):
        out = tmp_path / 'x.pth'
        export_weights(CONFIG, digits.path, str(out), 'mmpretrain')
        saved = torch.load(out, weights_only=True)
        plain = plain_digits(saved['state_dict'])
        assert_close(plain_scores(plain, normalised(digits.images)), digits.scores, 0)
        assert saved['meta']['dataset_meta'] == dict(classes=list('0123456789'))

    def test_safetensors(self, digits, tmp_path):
        out = tmp_path / 'x.safetensors'
        export_weights(CONFIG, digits.path, str(out), 'safetensors')
        plain = plain_digits(load_file(out))
        assert_close(plain_scores(plain, normalised(digits.images)), digits.scores, 0)
        with safe_open(out, 'pt') as file:
            facts = file.metadata()
        assert json.loads(facts['classes']) == list('0123456789')
        assert json.loads(facts['mean']) == [78.0] * 3 and json.loads(facts['std']) == [96.0] * 3

    @pytest.mark.parametrize(
        ('library', 'name'),
        [('timm', 'resnet18'), pytest.param('torchvision', 'resnet50', marks=pytest.mark.full)],
    )
    def test_resnets(self, photos, tmp_path, library, name):
        cfg = config_of(f'bp/{name}_imagenet', RESNET)
        path, model = drawn_model(cfg, tmp_path)
        out = tmp_path / 'x.pth'
        export_weights(cfg, path, str(out), library)
        with torch.no_grad():
            assert_close(network_of(library, name, out)(photos), model(photos))

    @pytest.mark.full
    def test_vision_transformer(self, photos, tmp_path):
        cfg = config_of('bp/vit-tiny_imagenet', VIT)
        path, model = drawn_model(cfg, tmp_path)
        out = tmp_path / 'x.pth'
        written = export_weights(cfg, path, str(out), 'timm')
        assert 'vit_tiny_patch16_224' in written.facts['network'] and written.difference < 1e-4
        network = network_of('timm', 'vit_tiny_patch16_224', out, img_size=64, patch_size=8)
        with torch.no_grad():
            assert_close(network(photos), model(photos))

    @pytest.mark.full
    def test_a_backbone_of_timm(self, photos, tmp_path):
        cfg = Config(
            dict(
                model=dict(
                    type='ImageClassifier',
                    backbone=dict(type='TIMMBackbone', model_name='resnet18', in_channels=3),
                    neck=dict(type='GlobalAveragePooling'),
                    head=dict(type='LinearClsHead', num_classes=7, in_channels=512),
                    data_preprocessor=NORMALISE,
                )
            )
        )
        path, model = drawn_model(cfg, tmp_path)
        images = tmp_path / 'images'
        images.mkdir()
        write_pictures(images, 4)
        out = tmp_path / 'x.pth'
        with pytest.raises(UserError, match='images=FOLDER'):
            # This classifier does not say the size of its images.
            export_weights(cfg, path, str(out), 'timm')
        assert export_weights(cfg, path, str(out), 'timm', images=str(images)).images == 4
        with torch.no_grad():
            assert_close(network_of('timm', 'resnet18', out)(photos), model(photos))

    @pytest.mark.full
    def test_a_backbone_of_torchvision(self, photos, tmp_path):
        cfg = from_torchvision('mobilenet_v2', 1280)
        path, model = drawn_model(cfg, tmp_path)
        out = tmp_path / 'x.pth'
        export_weights(cfg, path, str(out), 'torchvision')
        with torch.no_grad():
            assert_close(network_of('torchvision', 'mobilenet_v2', out)(photos), model(photos))


class TestNames:
    """Names and shapes only; the library's network is on the meta device, without weights."""

    @pytest.mark.parametrize(
        ('cfg', 'libraries', 'expected'),
        [
            ('resnet34', ('torchvision', 'timm'), 'resnet34'),
            ('resnext101-32x8d', ('torchvision', 'timm'), 'resnext101_32x8d'),
            (from_torchvision('shufflenet_v2_x0_5', 1024), ('torchvision',), 'shufflenet_v2_x0_5'),
        ],
        ids=lambda value: value if isinstance(value, str) else '',
    )
    def test_of_other_networks(self, cfg, libraries, expected):
        if isinstance(cfg, str):
            cfg = Config.fromfile(f'configs/bp/{cfg}_imagenet.py')
        model = parts_of(cfg)
        ours = {
            f'{part}.{name}': value.shape
            for part in ('backbone', 'head')
            for name, value in getattr(model, part).state_dict().items()
        }
        for library in libraries:
            with torch.device('meta'):
                target = find_target(model, library)
                theirs = {name: v.shape for name, v in target.build().state_dict().items()}
            assert target.name == expected
            assert {target.renamed(n): shape for n, shape in ours.items()} == theirs

    def test_more_than_one_layer_behind_the_backbone(self):
        with torch.device('meta'):
            model = parts_of(from_torchvision('vgg11', 512))
            with pytest.raises(UserError, match="'vgg11' has 3 linear layers"):
                find_target(model, 'torchvision')


class TestBadInput:
    def test_arguments(self, digits, tmp_path):
        out = str(tmp_path / 'x.pth')
        with pytest.raises(UserError, match="format='timm': backbone CIFARResNet"):
            export_weights(CONFIG, digits.path, out, 'timm')
        with pytest.raises(UserError, match="format='keras' should be one of mmpretrain"):
            export_weights(CONFIG, digits.path, out, 'keras')
        with pytest.raises(UserError, match=r"x.pth' should end with .safetensors"):
            export_weights(CONFIG, digits.path, out, 'safetensors')
        (tmp_path / 'x.pth').write_text('kept')
        with pytest.raises(UserError, match='not overwritten'):
            export_weights(CONFIG, digits.path, out, 'mmpretrain')
        assert (tmp_path / 'x.pth').read_text() == 'kept' and len(list(tmp_path.iterdir())) == 1

    def test_another_network_of_the_same_class(self, tmp_path):
        widths = {'model.backbone.base_channels': 8, 'model.backbone.stem_channels': 8}
        cfg = config_of('bp/resnet18_imagenet', {**RESNET, **widths, 'model.head.in_channels': 64})
        path, _ = drawn_model(cfg, tmp_path)
        out = tmp_path / 'x.pth'
        with pytest.raises(UserError, match='resnet18.*size mismatch'):
            export_weights(cfg, path, str(out), 'torchvision')
        assert not out.exists()

    @pytest.mark.full
    def test_other_arithmetic(self, tmp_path):
        """The same weights, but strides at other places."""
        cfg = config_of('bp/resnet50_imagenet', {**RESNET, 'model.backbone.style': 'caffe'})
        path, _ = drawn_model(cfg, tmp_path)
        out = tmp_path / 'x.pth'
        with pytest.raises(UserError, match='other scores'):
            export_weights(cfg, path, str(out), 'timm')
        assert not out.exists()
