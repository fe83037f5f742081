"""An ImageNet config on a folder of real photos of other classes, through the tool."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.helpers.photos import write_photo_folder
from tests.helpers.run_tool import one_error

CONFIG = 'configs/man/resnet18_k4_imagenet.py'
LOADERS = ('train', 'val', 'test')
CLASSES, PER_CLASS = 6, 15
EPOCHS = 8


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """The folder and the names of its classes; what it validates on is what it trains on."""
    root = tmp_path_factory.mktemp('photos')
    return root, write_photo_folder(root, CLASSES, PER_CLASS)


def _options(root, names):
    """What a user changes for classes and images like these."""
    options = [
        f'model.head.num_classes={CLASSES}',
        f'data_preprocessor.num_classes={CLASSES}',
        'model.input_shape=(3,64,64)',
        'train_dataloader.dataset.pipeline.1.scale=64',
        'val_dataloader.dataset.pipeline.1.scale=72',
        'val_dataloader.dataset.pipeline.2.crop_size=64',
        f'train_cfg.max_epochs={EPOCHS}',
        f'train_cfg.val_interval={EPOCHS}',
        f'default_hooks.checkpoint.interval={EPOCHS}',
    ]
    for name in LOADERS:
        options += [
            f'{name}_dataloader.batch_size=16',
            f'{name}_dataloader.dataset.data_root={root}',
            f'{name}_dataloader.dataset.classes=[{",".join(names)}]',
        ]
    return options


@pytest.fixture
def train(fork_tool, tmp_path):
    """``train(*options)``: a training of the config in ``tmp_path``."""
    arguments = [CONFIG, '--work-dir', tmp_path, '--seed', 0, '--auto-scale-lr', '--cfg-options']
    return lambda *options: fork_tool('train.py', *arguments, *options)


@pytest.mark.full
@pytest.mark.slow
def test_real_photos_are_learnt(photos, train):
    """Chance is 16.7 %. Eight seeds gave 62.2 to 77.8 %, 70.4 on average."""
    result = train(*_options(*photos))
    assert result.returncode == 0, result.stderr
    (accuracy,) = re.findall(r'^accuracy/top1: ([\d.]+)', result.stdout, re.M)
    assert float(accuracy) > 40


def test_what_does_not_fit_ends_in_one_line(photos, train):
    """The other messages are those of tests/test_datasets/test_imagenet.py."""
    options = [*_options(*photos), 'train_dataloader.dataset.classes=None']
    result = train(*options)
    assert 'train has 6 folders, but ImageNet has 1000 classes' in one_error(result)
    assert 'Epoch(train)' not in result.stdout + result.stderr


@pytest.mark.full
def test_a_damaged_photo_ends_in_one_line(photos, train):
    """Though it is read in another process."""
    root, names = photos
    path = sorted((root / 'train' / names[0]).iterdir())[0]
    content = path.read_bytes()
    try:
        path.write_bytes(content[:20])
        line = one_error(train(*_options(*photos)))
    finally:
        path.write_bytes(content)
    assert f'the image {path} cannot be read' in line


def test_the_example_in_the_docs_is_right(tmp_path):
    """The config for classes of one's own, as docs/imagenet.md shows it."""
    text = Path('docs/imagenet.md').read_text()
    (example,) = re.findall(r"```python\n(_base_ = '\./(\w+)\.py'.*?)```", text, re.S)
    code, name = example
    base = Path('configs/man', f'{name}.py').resolve()
    path = tmp_path / 'birds.py'
    path.write_text(code.replace(f'./{name}.py', str(base)))
    cfg = Config.fromfile(path)
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 200
    for loader in LOADERS:
        dataset = cfg[f'{loader}_dataloader'].dataset
        assert (dataset.type, dataset.data_root) == ('ImageNet', 'data/birds')
        assert dataset.classes == 'data/birds/classes.txt'
        assert dataset.split == ('train' if loader == 'train' else 'val')
