"""The key image_folder: one folder, one size, and all that follows."""

import numpy as np
import pytest
from PIL import Image

from mman import apis
from mman.datasets import ImageFolder
from mman.utils import UserError

CONFIG = 'man/resnet18_k4_folder'
CLASSES = ('ant', 'bee', 'cat')


def write_images(root, count=5, classes=CLASSES):
    """Plain images, another brightness for every class."""
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.full((9, 12, 3), 40 * label + i, np.uint8)
            Image.fromarray(pixels).save(root / name / f'{i}.png')
    return root


def load(root, **options):
    return apis.load_config(CONFIG, {'image_folder.root': str(root), **options})


def paths(dataset):
    return {dataset.get_data_info(i)['img_path'] for i in range(len(dataset))}


def test_one_size_and_one_folder_reach_everything(tmp_path):
    write_images(tmp_path)
    cfg = load(tmp_path, **{'image_folder.image_size': 64})
    assert cfg.model.input_shape == (3, 64, 64) and 'image_folder' not in cfg
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 3
    train, test = cfg.train_dataloader.dataset.pipeline, cfg.test_dataloader.dataset.pipeline
    assert [s.get('scale', s.get('crop_size')) for s in train] == [None, 64, None, None]
    assert [s.get('scale', s.get('crop_size')) for s in test] == [None, 73, 64, None]
    assert test == cfg.val_dataloader.dataset.pipeline
    for name in ('train', 'val', 'test'):
        dataset = cfg[f'{name}_dataloader'].dataset
        assert tuple(dataset.classes) == CLASSES and dataset.data_root == str(tmp_path)


def test_the_split_is_stratified_seeded_and_whole(tmp_path):
    write_images(tmp_path, count=5)
    splits = {s: ImageFolder(str(tmp_path), s, val_fraction=0.4) for s in ('train', 'val', 'test')}
    assert splits['train'].metainfo['classes'] == CLASSES
    labels = [splits['val'].get_data_info(i)['gt_label'] for i in range(6)]
    assert labels == [0, 0, 1, 1, 2, 2]
    train, val, test = (paths(dataset) for dataset in splits.values())
    assert len(train) == 9 and not train & val and test == val
    assert train | val == {str(path) for path in tmp_path.rglob('*.png')}
    again = ImageFolder(str(tmp_path), 'val', val_fraction=0.4)
    other = ImageFolder(str(tmp_path), 'val', val_fraction=0.4, split_seed=1)
    assert paths(again) == val != paths(other)
    # One more class leaves the others as they are.
    write_images(tmp_path, classes=('dog',))
    assert val < paths(ImageFolder(str(tmp_path), 'val', val_fraction=0.4))


def test_folders_of_splits_are_kept(tmp_path):
    for split, count in (('train', 4), ('val', 2)):
        write_images(tmp_path / split, count)
    (tmp_path / 'val' / '.cache').mkdir()
    assert len(ImageFolder(str(tmp_path), 'train')) == 12
    val, test = (ImageFolder(str(tmp_path), split) for split in ('val', 'test'))
    assert len(val) == 6 and paths(test) == paths(val)
    write_images(tmp_path / 'test', 1)
    assert paths(ImageFolder(str(tmp_path), 'test')) == {
        str(path) for path in (tmp_path / 'test').rglob('*.png')
    }


def test_a_missing_folder_can_be_planned_for_but_not_read(tmp_path):
    cfg = load(tmp_path / 'gone')
    assert cfg.model.head.num_classes == 1000
    with pytest.raises(UserError, match='gone.* is missing.*--data'):
        ImageFolder(cfg.train_dataloader.dataset.data_root)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'image_folder.image_size': 64.5}, r'image_folder\.image_size=64\.5 should be an int'),
        ({'image_folder.rooot': 'x'}, "image_folder has the unknown key 'rooot'"),
        ({'image_folder.root': 5}, r'image_folder\.root=5 should be the path'),
    ],
)
def test_a_wrong_key_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        apis.load_config(CONFIG, options)


def test_a_folder_that_does_not_fit_is_refused(tmp_path):
    write_images(tmp_path / 'train', 2)
    with pytest.raises(UserError, match='has train/ alone'):
        load(tmp_path)
    write_images(tmp_path / 'one', classes=('ant',))
    with pytest.raises(UserError, match='has 1 folders; .* two or more'):
        load(tmp_path / 'one')
    write_images(tmp_path / 'few', count=1)
    with pytest.raises(UserError, match='class ant has 1 images'):
        ImageFolder(str(tmp_path / 'few'))
    for key, value in dict(val_fraction=1, split_seed=-1).items():
        with pytest.raises(UserError, match=f'{key}={value} should be'):
            ImageFolder(str(tmp_path / 'few'), **{key: value})


def test_data_needs_a_config_for_folders(tmp_path):
    with pytest.raises(UserError, match='--data is for configs with image_folder'):
        apis.load_config('man/resnet20_k10_digits', {'image_folder.root': str(tmp_path)})
