"""The configs in memory train on the same distribution as those of per-image pipelines."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from scipy.stats import chisquare

from mman.registry import DATASETS, MODELS, TRANSFORMS
from mman.utils.checkpoint import load_from_local
from tests.helpers.converters import succeeded
from tests.helpers.pictures import counted, outcomes
from tests.helpers.run_tool import call_tool

FOLDER = Path('configs/_base_/datasets').absolute()
# name: padding, its mode, images are mirrored in training
RECIPES = {
    'cifar10': (4, 'reflect', True),
    'cifar100': (4, 'reflect', True),
    'svhn': (2, 'constant', False),
    'stl10': (4, 'constant', True),
    'fashion_mnist': (2, 'constant', True),
}
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
SIDE = 11
PER_OUTCOME = 40

pytestmark = pytest.mark.usefixtures('mman_scope')


def configs(name):
    """Per image, and in memory."""
    return [Config.fromfile(FOLDER / f'{stem}.py') for stem in (name, f'{name}_in_memory')]


def test_every_config_is_tested():
    assert {path.stem for path in FOLDER.glob('*_in_memory.py')} == {
        f'{n}_in_memory' for n in RECIPES
    }


def picture():
    return np.random.RandomState(0).randint(1, 256, (SIDE, SIDE, 3)).astype(np.uint8)


def from_pipeline(cfg, count):
    for transform in cfg.train_pipeline:
        if transform.type == 'RandomCrop':
            transform.crop_size = SIDE
    pipeline = Compose([TRANSFORMS.build(transform) for transform in cfg.train_pipeline])
    return torch.stack([pipeline(dict(img=picture()))['inputs'] for _ in range(count)])


def from_batch(cfg, count):
    preprocessor = MODELS.build(dict(cfg.data_preprocessor, mean=None, std=None))
    image = torch.from_numpy(picture().transpose(2, 0, 1).copy())
    batch = dict(inputs=image.expand(count, -1, -1, -1), gt_label=torch.zeros(count).long())
    images = preprocessor(batch, True)['inputs']
    assert torch.equal(preprocessor(batch, False)['inputs'], batch['inputs'].float())
    return images.to(torch.uint8)


@pytest.mark.parametrize('name', RECIPES)
def test_the_distribution_is_the_same(name):
    """Both give every crop and flip that the recipe allows, no other, and equally often."""
    numbers = outcomes(picture(), *RECIPES[name])
    count = PER_OUTCOME * len(numbers)
    per_image, in_memory = configs(name)
    for images in (from_pipeline(per_image, count), from_batch(in_memory, count)):
        found = np.bincount(counted(images, numbers), minlength=len(numbers))
        assert chisquare(found).pvalue > 1e-3


@pytest.mark.parametrize('name', RECIPES)
def test_all_else_is_the_same(name):
    per_image, in_memory = configs(name)
    for key in ('dataset_type', 'data_root', 'val_evaluator', 'test_evaluator'):
        assert in_memory[key] == per_image[key]
    normalisation = in_memory.data_preprocessor.to_dict()
    assert normalisation.pop('type') == 'BatchAugmentDataPreprocessor'
    assert normalisation.pop('augments')
    assert normalisation == per_image.data_preprocessor.to_dict()
    for name in LOADERS:
        per_image_set = per_image[name].dataset.to_dict()
        del per_image_set['pipeline']
        found = in_memory[name].dataset.dataset.to_dict()
        assert found.pop('serialize_data') is False
        assert found == per_image_set
        assert in_memory[name].batch_size == per_image[name].batch_size
        assert in_memory[name].sampler == per_image[name].sampler
    assert not in_memory.train_pipeline and not in_memory.test_pipeline
    assert 'model' not in in_memory


@pytest.mark.parametrize('name', RECIPES)
def test_the_data_sets_build(name):
    _, cfg = configs(name)
    for loader in LOADERS:
        dataset = cfg[loader].dataset
        dataset.update(lazy_init=True)
        dataset.dataset.update(lazy_init=True)
        classes = DATASETS.build(dataset).metainfo['classes']
        assert len(classes) == cfg.data_preprocessor.num_classes


IN_MEMORY = """
_base_ = {digits!r}
model = dict(splitter=dict(num_blocks=3, strategy='uniform', stem='fused'))
data_preprocessor = dict(type='BatchAugmentDataPreprocessor')
train_dataloader = dict(
    collate_fn=dict(type='in_memory_collate'),
    dataset=dict(
        _delete_=True,
        type='InMemoryDataset',
        dataset=dict(type='Digits', split='train', indices=128),
    ),
)
val_dataloader = dict(
    collate_fn=dict(type='in_memory_collate'),
    dataset=dict(
        _delete_=True,
        type='InMemoryDataset',
        dataset=dict(type='Digits', split='test', indices=64),
    ),
)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2)
"""
PER_IMAGE = """
_base_ = {digits!r}
model = dict(splitter=dict(num_blocks=3, strategy='uniform', stem='fused'))
train_dataloader = dict(dataset=dict(indices=128))
val_dataloader = dict(dataset=dict(indices=64))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2)
"""


def test_a_training_without_augments_is_the_per_image_one(tmp_path):
    """Every weight and the accuracy, through the tools; digits are not augmented."""
    digits = str(Path('configs/man/resnet20_k10_digits.py').absolute())
    runs = []
    for name, text in (('per_image', PER_IMAGE), ('in_memory', IN_MEMORY)):
        config = tmp_path / f'{name}.py'
        config.write_text(text.format(digits=digits))
        work_dir = tmp_path / name
        out = succeeded(call_tool('train.py', config, '--work-dir', work_dir, '--seed', 1))
        state = load_from_local(work_dir / 'epoch_2.pth')
        runs.append((state['state_dict'], state['meta']['dataset_meta'], _accuracy(out)))
    (expected, *rest), (found, *other_rest) = runs
    assert rest == other_rest
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert torch.equal(value, found[key]), key


def _accuracy(out):
    (line,) = [line for line in out.splitlines() if line.startswith('accuracy/top1: ')]
    return line
