"""Models by name, and predictions of files, folders and arrays."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import build_classifier

from mman import apis
from mman.utils import UserError
from tests.helpers.settings import model_cfg
from tests.helpers.trained_digits import (
    CONFIG,
    PATH,
    normalised,
    pictures,
    trained_digits,
    write_pictures,
)

COUNT = 20


@pytest.fixture(scope='module')
def trained():
    return trained_digits()


@pytest.fixture(scope='module')
def expected(trained):
    """Probabilities by mmpretrain's own classifier, of the pixels normalised by hand."""
    cfg = Config.fromfile(PATH)
    parts = {key: cfg.model[key] for key in ('backbone', 'neck', 'head')}
    plain = build_classifier(dict(type='ImageClassifier', **parts)).eval()
    saved = torch.load(trained[0], weights_only=True)['state_dict']
    plain.load_state_dict({k: v for k, v in saved.items() if not k.startswith('aux_heads.')})
    with torch.no_grad():
        return plain(normalised(pictures()[0][:COUNT])).softmax(1).numpy()


def small_config(to_rgb, pipeline=None):
    """A small model on colour images of 16 x 16."""
    cfg = model_cfg('dgl')
    cfg['data_preprocessor']['to_rgb'] = to_rgb
    steps = pipeline or [dict(type='PackInputs')]
    loader = dict(dataset=dict(type='CIFAR10', pipeline=steps))
    return Config(dict(model=cfg, test_dataloader=loader))


class TestModels:
    def test_names(self):
        names = apis.list_models()
        assert CONFIG in names and 'manpp/vit-tiny_k4_imagenet' in names
        assert not any('_base_' in name for name in names) and names == sorted(names)
        assert apis.list_models('man/*digits') == [CONFIG]
        assert apis.list_models('bp/resnet1') == [n for n in names if n.startswith('bp/resnet1')]
        assert apis.list_models('nothing') == []

    def test_a_memory_budget_is_kept(self, monkeypatch):
        cfg = Config.fromfile(PATH)
        cfg.memory_budget = dict(gib=1)
        changed = []

        def keep(given):
            changed.append(given.pop('memory_budget'))
            given.model.splitter = dict(type='LocalBlockSplitter', num_blocks=2, strategy='uniform')

        monkeypatch.setattr('mman.apis.inference.apply_memory_budget', keep)
        assert apis.get_model(cfg).num_blocks == 2
        assert changed == [dict(gib=1)] and cfg.memory_budget.gib == 1

    @pytest.mark.parametrize('kind', ['name', 'path', 'config'])
    def test_the_weights_of_a_checkpoint(self, trained, kind):
        given = dict(name=CONFIG, path=str(PATH), config=Config.fromfile(PATH))[kind]
        model = apis.get_model(given, str(trained[0]))
        assert not model.training and not model.backbone.training
        saved = torch.load(trained[0], weights_only=True)['state_dict']
        own = model.state_dict()
        assert set(own) == set(saved)
        assert all(torch.equal(own[name], saved[name]) for name in own)
        assert model._dataset_meta['classes'] == tuple('0123456789')

    def test_a_checkpoint_without_aux_heads(self, trained, tmp_path):
        saved = torch.load(trained[0], weights_only=True)
        weights = saved['state_dict']
        weights = {k: v for k, v in weights.items() if not k.startswith('aux_heads.')}
        path = tmp_path / 'plain.pth'
        torch.save(dict(state_dict=weights), path)
        model = apis.get_model(CONFIG, str(path))
        assert torch.equal(model.head.fc.weight, weights['head.fc.weight'])
        with pytest.raises(UserError, match='lacks aux_heads.0.*aux heads'):
            apis.get_model(CONFIG, str(path), aux_heads=True)
        # Half of the aux heads are a damaged file.
        name = 'aux_heads.0.num_updates'
        torch.save(dict(state_dict={**weights, name: saved['state_dict'][name]}), path)
        with pytest.raises(UserError, match='lacks aux_heads.0'):
            apis.get_model(CONFIG, str(path))

    def test_bad_input(self, trained, tmp_path):
        with pytest.raises(UserError, match=f'resnet20_k10_digit.*did you mean {CONFIG}'):
            apis.get_model('man/resnet20_k10_digit')
        with pytest.raises(UserError, match='absent.py'):
            apis.get_model('absent.py')
        with pytest.raises(UserError, match='absent.pth.*local file'):
            apis.get_model(CONFIG, 'absent.pth')
        with pytest.raises(UserError, match='10 local blocks'):
            apis.get_model('bp/resnet20_digits', str(trained[0]))
        cfg = Config.fromfile(PATH)
        cfg.model.head.num_classes = cfg.data_preprocessor.num_classes = 7
        with pytest.raises(UserError, match='misshapen'):
            apis.get_model(cfg, str(trained[0]))
        with pytest.raises(UserError, match="device='warp'"):
            apis.get_model(CONFIG, device='warp')
        path = tmp_path / 'x.pth'
        torch.save({'epoch': 3}, path)
        with pytest.raises(UserError, match="no 'state_dict'"):
            apis.get_model(CONFIG, str(path))
        with pytest.raises(UserError, match='has no model'):
            apis.get_model(Config(dict(a=1)))


class TestInferencer:
    def test_arrays_files_and_a_folder(self, trained, expected, tmp_path):
        inferencer = apis.ImageInferencer(CONFIG, str(trained[0]))
        write_pictures(tmp_path, COUNT)
        (tmp_path / 'notes.txt').write_text('no picture')
        files = sorted(tmp_path.glob('*.png'))
        for inputs in (list(pictures()[0][:COUNT]), files, tmp_path, str(tmp_path)):
            results = inferencer(inputs, batch_size=8)
            scores = np.stack([result['pred_scores'] for result in results])
            np.testing.assert_allclose(scores, expected, atol=1e-5)
            assert [r['pred_label'] for r in results] == expected.argmax(1).tolist()
            assert [r['pred_class'] for r in results] == [str(k) for k in expected.argmax(1)]
        (single,) = inferencer(files[3])
        assert single['pred_label'] == expected[3].argmax()

    def test_every_exit(self, trained):
        path, model = trained
        inputs = normalised(pictures()[0][:COUNT])
        for k in (0, 5, 9):
            inferencer = apis.ImageInferencer(CONFIG, str(path), exit=k)
            results = inferencer(list(pictures()[0][:COUNT]), batch_size=7)
            with torch.no_grad():
                x = inputs
                for block in model.local_blocks[: k + 1]:
                    for layer in block.layers:
                        x = layer(x)
                scores = model(inputs) if k == 9 else model.aux_heads[k].logits(x)
            found = np.stack([result['pred_scores'] for result in results])
            np.testing.assert_allclose(found, scores.softmax(1).numpy(), atol=1e-5)

    @pytest.mark.parametrize('to_rgb', [True, False])
    def test_files_are_read_in_the_order_of_training(self, tmp_path, to_rgb):
        red = np.zeros((16, 16, 3), np.uint8)
        red[..., 2] = 200  # OpenCV writes BGR
        cv2.imwrite(str(tmp_path / 'red.png'), red)
        model = apis.get_model(small_config(to_rgb))
        inferencer = apis.ImageInferencer(model)
        seen = []
        model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        inferencer(tmp_path / 'red.png')
        mean, std = model.data_preprocessor.mean, model.data_preprocessor.std
        pixels = (seen[0] * std + mean)[0].mean((1, 2)).round().tolist()
        assert pixels == [200, 0, 0]
        assert inferencer.pixels(tmp_path).float().mean((0, 2, 3)).tolist() == [200, 0, 0]

    def test_size(self, tmp_path):
        image = np.zeros((20, 16, 3), np.uint8)
        inferencer = apis.ImageInferencer(apis.get_model(small_config(False)))
        with pytest.raises(UserError, match=r'\(3, 20, 16\).*\(3, 16, 16\).*resize'):
            inferencer(image)
        steps = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=16)]
        cfg = small_config(False, [*steps, dict(type='PackInputs')])
        (result,) = apis.ImageInferencer(apis.get_model(cfg))(image)
        assert result['pred_scores'].shape == (10,)

    def test_pictures_of_predictions(self, trained, tmp_path):
        inferencer = apis.ImageInferencer(CONFIG, str(trained[0]))
        source = tmp_path / 'in'
        source.mkdir()
        inferencer(write_pictures(source, 2), show_dir=str(tmp_path / 'out'), resize=64)
        assert len(list((tmp_path / 'out').glob('*.png'))) == 2

    def test_bad_input(self, trained, tmp_path):
        with pytest.raises(UserError, match='pretrained'):
            apis.ImageInferencer(CONFIG)
        with pytest.raises(UserError, match='block 10 is no early exit'):
            apis.ImageInferencer(CONFIG, str(trained[0]), exit=10)
        inferencer = apis.ImageInferencer(CONFIG, str(trained[0]))
        with pytest.raises(UserError, match='absent.png.*does not exist'):
            inferencer('absent.png')
        with pytest.raises(UserError, match='has no images'):
            inferencer(tmp_path)
        (tmp_path / 'broken.png').write_bytes(b'not a picture')
        with pytest.raises(UserError, match='broken.png'):
            inferencer(tmp_path)
        for wrong in (np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), 3):
            with pytest.raises(UserError, match='uint8'):
                inferencer([wrong])
