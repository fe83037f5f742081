"""tools/model_converters/export_weights.py: the same scores in other libraries' networks."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from safetensors import safe_open
from safetensors.torch import load_file

from mman.registry import MODELS
from tests.helpers.converters import (
    RESNET,
    VIT,
    assert_close,
    drawn_model,
    error_of,
    plain_digits,
    plain_scores,
    succeeded,
)
from tests.helpers.run_tool import call_tool
from tests.helpers.trained_digits import CONFIG, normalised, write_pictures


class TestWeights:
    tool = 'model_converters/export_weights.py'

    def export(self, config, checkpoint, out, kind, *options):
        cfg_options = ['--cfg-options', *options] if options else []
        return call_tool(self.tool, config, checkpoint, out, '--format', kind, *cfg_options)

    def test_mmpretrain(self, digits, tmp_path):
        out = tmp_path / 'x.pth'
        succeeded(self.export(CONFIG, digits.path, out, 'mmpretrain'))
        saved = torch.load(out, weights_only=True)
        plain = plain_digits(saved['state_dict'])
        assert_close(plain_scores(plain, normalised(digits.images)), digits.scores, 0)

    def test_safetensors(self, digits, tmp_path):
        out = tmp_path / 'x.safetensors'
        succeeded(self.export(CONFIG, digits.path, out, 'safetensors'))
        plain = plain_digits(load_file(out))
        assert_close(plain_scores(plain, normalised(digits.images)), digits.scores, 0)
        with safe_open(out, 'pt') as file:
            facts = file.metadata()
        assert json.loads(facts['classes']) == list('0123456789')
        assert json.loads(facts['mean']) == [78.0] * 3 and json.loads(facts['std']) == [96.0] * 3

    @pytest.mark.parametrize('library', ['torchvision', 'timm'])
    @pytest.mark.parametrize('name', ['resnet18', pytest.param('resnet50', marks=pytest.mark.slow)])
    def test_resnets(self, photos, tmp_path, library, name):
        path, model = drawn_model(f'bp/{name}_imagenet', RESNET, tmp_path)
        out = tmp_path / 'x.pth'
        succeeded(self.export(f'bp/{name}_imagenet', path, out, library, *RESNET))
        weights = torch.load(out, weights_only=True)
        if library == 'timm':
            import timm

            network = timm.create_model(name, num_classes=7)
        else:
            import torchvision

            network = torchvision.models.get_model(name, weights=None, num_classes=7)
        network.load_state_dict(weights)
        with torch.no_grad():
            assert_close(network.eval()(photos), model(photos))

    def test_vision_transformer(self, photos, tmp_path):
        import timm

        path, model = drawn_model('bp/vit-tiny_imagenet', VIT, tmp_path)
        out = tmp_path / 'x.pth'
        said = succeeded(self.export('bp/vit-tiny_imagenet', path, out, 'timm', *VIT))
        assert 'vit_tiny_patch16_224' in said
        network = timm.create_model(
            'vit_tiny_patch16_224', img_size=64, patch_size=8, num_classes=7
        )
        network.load_state_dict(torch.load(out, weights_only=True))
        with torch.no_grad():
            assert_close(network.eval()(photos), model(photos))

    def test_a_backbone_of_timm(self, photos, tmp_path):
        import timm

        config, images = tmp_path / 'config.py', tmp_path / 'images'
        model = dict(
            type='ImageClassifier',
            backbone=dict(type='TIMMBackbone', model_name='resnet18', in_channels=3),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=7, in_channels=512),
            data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
        )
        config.write_text(f'model = {model!r}\n')
        path, model = drawn_model(config, (), tmp_path)
        images.mkdir()
        write_pictures(images, 4)
        out = tmp_path / 'x.pth'
        # This classifier does not say the size of its images.
        assert '--images' in error_of(self.export(config, path, out, 'timm'))
        arguments = (config, path, out, '--format', 'timm', '--images', images)
        succeeded(call_tool(self.tool, *arguments))
        network = timm.create_model('resnet18', num_classes=7)
        network.load_state_dict(torch.load(out, weights_only=True))
        with torch.no_grad():
            assert_close(network.eval()(photos), model(photos))

    @pytest.mark.parametrize('name', ['mobilenet_v2', 'regnet_y_400mf'])
    def test_a_backbone_of_torchvision(self, photos, tmp_path, name):
        import torchvision

        config = tmp_path / 'config.py'
        channels = dict(mobilenet_v2=1280, regnet_y_400mf=440)[name]
        model = dict(
            type='LocalImageClassifier',
            backbone=dict(type='TorchvisionBackbone', name=name),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=7, in_channels=channels),
            splitter=dict(type='LocalBlockSplitter', num_blocks=1),
            input_shape=(3, 64, 64),
            data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
        )
        config.write_text(f'model = {model!r}\n')
        path, model = drawn_model(config, (), tmp_path)
        out = tmp_path / 'x.pth'
        succeeded(self.export(config, path, out, 'torchvision'))
        network = torchvision.models.get_model(name, weights=None, num_classes=7)
        network.load_state_dict(torch.load(out, weights_only=True))
        with torch.no_grad():
            assert_close(network.eval()(photos), model(photos))

    def test_a_backbone_of_torchvision_with_more_behind_it(self, tmp_path):
        config = tmp_path / 'config.py'
        model = dict(
            type='LocalImageClassifier',
            backbone=dict(type='TorchvisionBackbone', name='vgg11'),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=7, in_channels=512),
            splitter=dict(type='LocalBlockSplitter', num_blocks=1),
            input_shape=(3, 64, 64),
        )
        config.write_text(f'model = {model!r}\n')
        path, _ = drawn_model(config, (), tmp_path)
        out = tmp_path / 'x.pth'
        line = error_of(self.export(config, path, out, 'torchvision'))
        assert "'vgg11' has 3 linear layers" in line and not out.exists()

    def test_names_of_the_larger_ones(self, monkeypatch):
        """Names and shapes only, so that no more than one copy of their weights is drawn."""
        monkeypatch.syspath_prepend('tools/model_converters')
        from plain_names import find_target

        for config, expected in (
            ('resnet34', 'resnet34'),
            ('resnet101', 'resnet101'),
            ('resnet152', 'resnet152'),
            ('resnext101-32x8d', 'resnext101_32x8d'),
        ):
            cfg = Config.fromfile(f'configs/bp/{config}_imagenet.py')
            model = SimpleNamespace(
                backbone=MODELS.build(cfg.model.backbone),
                head=MODELS.build(cfg.model.head),
                _config=cfg,
            )
            for library in ('torchvision', 'timm'):
                target = find_target(model, library)
                assert target.name == expected
                with torch.device('meta'):
                    network = target.build()
                ours = {
                    f'{part}.{name}': value.shape
                    for part in ('backbone', 'head')
                    for name, value in getattr(model, part).state_dict().items()
                }
                theirs = {name: value.shape for name, value in network.state_dict().items()}
                assert {target.renamed(n): shape for n, shape in ours.items()} == theirs

    def test_bad_input(self, digits, tmp_path):
        for library in ('torchvision', 'timm'):
            line = error_of(self.export(CONFIG, digits.path, tmp_path / 'x.pth', library))
            assert 'CIFARResNet' in line and library in line
        line = error_of(self.export(CONFIG, digits.path, tmp_path / 'x.pt', 'mmpretrain'))
        assert '.pth' in line
        line = error_of(self.export('man/resnet20_k11', digits.path, tmp_path / 'x.pth', 'timm'))
        assert 'man/resnet20_k11' in line and CONFIG in line
        line = error_of(
            self.export('bp/resnet20_digits', digits.path, tmp_path / 'x.pth', 'mmpretrain')
        )
        assert '10 local blocks' in line
        (tmp_path / 'old.pth').write_text('kept')
        line = error_of(self.export(CONFIG, digits.path, tmp_path / 'old.pth', 'mmpretrain'))
        assert 'not overwritten' in line and (tmp_path / 'old.pth').read_text() == 'kept'
        assert [file.name for file in tmp_path.iterdir()] == ['old.pth']

    def test_another_network_of_the_same_class_is_refused(self, tmp_path):
        options = (*RESNET, 'model.backbone.base_channels=8', 'model.backbone.stem_channels=8')
        options = (*options, 'model.head.in_channels=64')
        path, _ = drawn_model('bp/resnet18_imagenet', options, tmp_path)
        out = tmp_path / 'x.pth'
        line = error_of(self.export('bp/resnet18_imagenet', path, out, 'torchvision', *options))
        assert 'resnet18' in line and 'size mismatch' in line and not out.exists()

    def test_other_arithmetic_is_refused(self, tmp_path):
        """The same weights, but strides at other places."""
        options = (*RESNET, 'model.backbone.depth=50')
        cfg = Config.fromfile('configs/bp/resnet50_imagenet.py')
        path, _ = drawn_model('bp/resnet50_imagenet', options, tmp_path)
        assert cfg.model.backbone.depth == 50
        out = tmp_path / 'x.pth'
        result = self.export(
            'bp/resnet50_imagenet', path, out, 'timm', *options, 'model.backbone.style=caffe'
        )
        assert 'other scores' in error_of(result) and not out.exists()
