"""The dataset configs build, and do to an image what the recipes say."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.models import ClsDataPreprocessor

from mman.datasets import Digits
from mman.registry import DATASETS, METRICS, TRANSFORMS

FOLDER = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'
# name: image side, classes, total batch, images are flipped in training
RECIPES = {
    'cifar10': (32, 10, 1024, True),
    'cifar100': (32, 100, 1024, True),
    'svhn': (32, 10, 1024, False),
    'stl10': (96, 10, 128, True),
    'fashion_mnist': (28, 10, 1024, True),
    'digits': (8, 10, 64, False),
}

pytestmark = pytest.mark.usefixtures('mman_scope')


def load(name):
    return Config.fromfile(FOLDER / f'{name}.py')


def pipeline(steps):
    return Compose([TRANSFORMS.build(step) for step in steps])


def sample(side):
    img = np.random.RandomState(0).randint(1, 256, (side, side, 3)).astype(np.uint8)
    return dict(img=img, gt_label=3)


def test_every_config_is_tested():
    """Those in memory by test_in_memory_configs.py."""
    found = {path.stem for path in FOLDER.glob('*.py') if not path.stem.endswith('_in_memory')}
    assert found == {
        *RECIPES,
        'fashion_mnist_grey',
        'image_folder',
        'imagenet',
        'imagenet_bs128',
        'loaders',
    }


def test_folders_of_the_machine_are_not_looked_into(tmp_path_factory):
    """Tests run beside the repository, whose data folder may be filled; see tests/conftest.py."""
    assert Path('configs').resolve() == FOLDER.parents[1]
    places = [Path(load(name).data_root) for name in RECIPES if name != 'digits']
    places += [Path(os.environ.get(name, '')) for name in ('TORCH_HOME', 'HF_HOME')]
    for place in places:
        assert place.absolute().is_relative_to(tmp_path_factory.getbasetemp())
        assert not place.exists() or not list(place.iterdir())


@pytest.mark.parametrize('name', RECIPES)
def test_train_pipeline(name):
    side, _, batch, flips = RECIPES[name]
    cfg = load(name)
    assert cfg.train_dataloader.batch_size == batch
    train = pipeline(cfg.train_pipeline)
    outputs = [train(sample(side)) for _ in range(60)]
    assert all(out['inputs'].shape == (3, side, side) for out in outputs)
    assert outputs[0]['data_samples'].gt_label.tolist() == [3]
    different = len({out['inputs'].numpy().tobytes() for out in outputs})
    assert different == 1 if name == 'digits' else different > 5
    found = {out['data_samples'].get('flip', False) for out in outputs}
    assert found == ({True, False} if flips else {False})


@pytest.mark.parametrize('name, pad, mode', [('cifar10', 4, 'reflect'), ('svhn', 2, 'constant')])
def test_train_crop_is_a_window_of_the_padded_image(name, pad, mode):
    img = sample(32)['img']
    padded = np.pad(img, ((pad, pad), (pad, pad), (0, 0)), mode=mode)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (32, 32, 3)).reshape(-1, 32, 32, 3)
    known = {window.tobytes() for window in windows}
    known |= {window[:, ::-1].tobytes() for window in windows}
    train = pipeline(load(name).train_pipeline)
    for _ in range(20):
        out = train(sample(32))['inputs'].numpy().transpose(1, 2, 0)
        assert out.tobytes() in known


@pytest.mark.parametrize('name', RECIPES)
def test_test_pipeline_changes_nothing(name):
    data = sample(RECIPES[name][0])
    out = pipeline(load(name).test_pipeline)(dict(data))
    np.testing.assert_array_equal(out['inputs'].numpy().transpose(1, 2, 0), data['img'])


@pytest.mark.parametrize('name', [*RECIPES, 'imagenet'])
def test_normalisation(name):
    cfg = load(name).data_preprocessor
    img = sample(6)['img'].transpose(2, 0, 1)
    inputs = torch.from_numpy(img)[None]
    out = ClsDataPreprocessor(**cfg)(dict(inputs=inputs, data_samples=None))['inputs'][0]
    rgb = img[::-1] if name == 'imagenet' else img
    mean, std = (np.array(cfg[key])[:, None, None] for key in ('mean', 'std'))
    np.testing.assert_allclose(out.numpy(), (rgb - mean) / std, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', RECIPES)
def test_data_set_and_number_of_classes(name):
    cfg = load(name)
    for loader, split in (('train', 'train'), ('val', 'test'), ('test', 'test')):
        dataset = dict(cfg[f'{loader}_dataloader'].dataset, lazy_init=True)
        built = DATASETS.build(dataset)
        assert built.split == split
        assert len(built.metainfo['classes']) == cfg.data_preprocessor.num_classes
        assert cfg.data_preprocessor.num_classes == RECIPES[name][1]
    METRICS.build(cfg.test_evaluator)
    assert 'model' not in cfg


def test_digits_normalisation_is_of_the_train_images():
    cfg = load('digits').data_preprocessor
    data = Digits()
    images = np.stack([data[i]['img'] for i in range(len(data))])
    np.testing.assert_allclose(images.mean((0, 1, 2)), cfg.mean, atol=0.05)
    np.testing.assert_allclose(images.std((0, 1, 2)), cfg.std, atol=0.05)


def test_digits_loader_gives_batches():
    loader = Runner.build_dataloader(load('digits').train_dataloader, seed=0)
    batch = next(iter(loader))
    assert batch['inputs'].shape == (64, 3, 8, 8) and len(batch['data_samples']) == 64
