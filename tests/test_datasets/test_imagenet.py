"""ImageNet's folder, and folders of other classes: what is read, and what is refused."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from PIL import Image
from torch.utils.data import DataLoader

from mman.registry import DATASETS, TRANSFORMS
from mman.utils import DataError, UserError

pytestmark = pytest.mark.usefixtures('mman_scope')
CONFIG = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets' / 'imagenet.py'
BIRDS = ['owl', 'crow', 'emu']


def _dataset(data_root, **keys):
    return DATASETS.build(dict(type='ImageNet', data_root=str(data_root), **keys))


def _write(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)


@pytest.fixture
def birds(tmp_path):
    """Two train images and a validation image for each of three classes."""
    for value, name in enumerate(BIRDS):
        for split, files in (('train', ['a.png', 'more/b.JPG']), ('val', ['c.png'])):
            for file in files:
                _write(tmp_path / split / name / file, value)
    (tmp_path / 'train' / 'owl' / 'notes.txt').write_text('no image')
    return tmp_path


def _labels(data):
    """Label of every image by its path from the folder of the split."""
    samples = [data.get_data_info(i) for i in range(len(data))]
    return {str(Path(s['img_path']).relative_to(data.img_prefix)): s['gt_label'] for s in samples}


def test_classes_number_the_labels(birds):
    expected = {
        f'{name}/{file}': i for i, name in enumerate(BIRDS) for file in ('a.png', 'more/b.JPG')
    }
    data = _dataset(birds, classes=BIRDS)
    assert _labels(data) == expected
    assert data.metainfo['classes'] == tuple(BIRDS)
    swapped = _labels(_dataset(birds, split='val', classes=['crow', 'emu', 'owl']))
    assert swapped == {'crow/c.png': 0, 'emu/c.png': 1, 'owl/c.png': 2}


def test_classes_in_a_file_and_in_metainfo(birds):
    (birds / 'classes.txt').write_text('\n'.join(BIRDS) + '\n')
    named = _labels(_dataset(birds, classes=BIRDS))
    assert _labels(_dataset(birds, classes=str(birds / 'classes.txt'))) == named
    assert _labels(_dataset(birds, metainfo=dict(classes=BIRDS))) == named


def test_a_test_split_has_labels(birds):
    (birds / 'val').rename(birds / 'test')
    assert len(set(_labels(_dataset(birds, split='test', classes=BIRDS)).values())) == 3


def test_a_listing_is_read_from_meta(birds):
    (birds / 'meta').mkdir()
    (birds / 'meta' / 'train.txt').write_text('owl/a.png 2\nemu/more/b.JPG 0\n')
    expected = {'owl/a.png': 2, 'emu/more/b.JPG': 0}
    assert _labels(_dataset(birds, classes=BIRDS)) == expected
    # Labels of ImageNet go up to 999, and need no folders of classes.
    (birds / 'meta' / 'train.txt').write_text('owl/a.png 999\n')
    assert _labels(_dataset(birds)) == {'owl/a.png': 999}
    # The listing is of one split.
    assert len(_labels(_dataset(birds, split='val', classes=BIRDS))) == 3


def test_imagenet_counts_its_folders_in_alphabetical_order(tmp_path):
    for number in range(1000):
        (tmp_path / 'train' / f'n{number:08d}').mkdir(parents=True)
    _write(tmp_path / 'train' / 'n00000007' / 'x.png')
    data = _dataset(tmp_path)
    assert _labels(data) == {'n00000007/x.png': 7}
    assert data.metainfo['classes'][7] == 'cock'


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        (dict(), r'train has 3 folders, but ImageNet has 1000 classes.*set the key classes'),
        (dict(classes=['owl', 'crow']), 'has the folder emu, which classes does not name'),
        (dict(classes=[*BIRDS, 'kea']), 'has no folder kea, which classes names'),
        (dict(classes=[*BIRDS, *'abcde']), 'no folder a, b, c, d and 1 more'),
        (dict(split='test', classes=BIRDS), r'folder \S+/test is missing\. data_root='),
        (dict(data_prefix='images', classes=BIRDS), r'folder \S+/images is missing'),
        (dict(ann_file='meta/mine.txt', classes=BIRDS), r'file \S+/meta/mine.txt is missing'),
        (dict(extensions=('.gif',), classes=BIRDS), r'train has no images \(\.gif\)'),
    ],
)
def test_folders_that_do_not_fit_are_named(birds, keys, message):
    with pytest.raises(DataError, match=message):
        _dataset(birds, **keys)


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        (dict(data_root=''), "data_root='' should be the path"),
        (dict(split='valid'), "split='valid' must be one of 'train', 'val', 'test'"),
        (dict(classes='nowhere.txt'), "classes='nowhere.txt' is not a file"),
        (dict(classes=[7, 15]), r'classes=\[7, 15\] has something else than names.*or a file'),
        (dict(classes=[]), r'classes=\[\] has something else than names, or none'),
        (dict(classes=['owl', 'owl']), 'has a name twice'),
    ],
)
def test_wrong_keys_are_named(birds, keys, message):
    with pytest.raises(UserError, match=message):
        _dataset(**{'data_root': birds, **keys})


@pytest.mark.parametrize(
    ('line', 'fault'), [('owl/a.png', 'a path'), ('owl/a.png 3', '0 to 2'), ('a.png -1', '0 to 2')]
)
def test_a_bad_line_of_a_listing_is_named(birds, line, fault):
    (birds / 'meta').mkdir()
    (birds / 'meta' / 'train.txt').write_text(f'crow/a.png 1\n{line}\n')
    with pytest.raises(DataError, match=rf'line 2 of \S+train.txt is {line!r}.*{fault}'):
        _dataset(birds, classes=BIRDS)


def _half_a_jpeg():
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(file, 'JPEG')
    return file.getvalue()[: len(file.getvalue()) // 2]


# Once in a worker, whose end takes seconds.
@pytest.mark.parametrize(
    ('content', 'workers'),
    [(b'', 0), (b'no image at all', 0), (_half_a_jpeg(), 0), (None, 0), (None, 1)],
)
def test_a_damaged_image_is_named(birds, content, workers):
    path = birds / 'train' / 'emu' / 'a.png'
    data = _dataset(birds, classes=BIRDS, pipeline=[dict(type='LoadImageFromFile')])
    path.unlink() if content is None else path.write_bytes(content)
    loader = DataLoader(data, batch_size=6, num_workers=workers, collate_fn=pseudo_collate)
    with pytest.raises(DataError, match=r'image \S+/train/emu/a.png cannot be read'):
        list(loader)


def test_an_image_is_read_as_mmcv_does(birds):
    _write(birds / 'x.png', (250, 10, 20))
    load = TRANSFORMS.build(dict(type='LoadImageFromFile'))
    results = load(dict(img_path=str(birds / 'x.png')))
    assert results['img_shape'] == results['ori_shape'] == (8, 8)
    np.testing.assert_array_equal(results['img'], np.full((8, 8, 3), (20, 10, 250), np.uint8))
    missing = dict(type='LoadImageFromFile', ignore_empty=True)
    assert TRANSFORMS.build(missing)(dict(img_path=str(birds / 'y.png'))) is None


def test_the_config_trains_on_a_crop_and_tests_in_the_centre(birds):
    """METHOD: any part of the image, scaled to 224 and flipped; the centre 224 of 256."""
    cfg = Config.fromfile(CONFIG)
    splits = [cfg[f'{name}_dataloader'].dataset.split for name in ('train', 'val', 'test')]
    assert splits == ['train', 'val', 'val']
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    Image.fromarray(np.stack([ramp, ramp.T, ramp], 2)).save(birds / 'train' / 'crow' / 'a.png')
    train, test = (
        _dataset(birds, classes=BIRDS, indices=1, pipeline=cfg[f'{name}_pipeline'])
        for name in ('train', 'test')
    )
    centre = test[0]['inputs']
    # BGR, and the first channel grows along the columns, by one a pixel.
    expected = torch.arange(16, 240, dtype=torch.uint8).expand(224, 224)
    assert torch.equal(centre[0], expected) and torch.equal(centre[1], expected.T)
    crops = [train[0]['inputs'].float() for _ in range(20)]
    assert all(crop.shape == (3, 224, 224) for crop in crops)
    widths = [abs(float(crop[0, 0, -1] - crop[0, 0, 0])) for crop in crops]
    assert min(widths) < 160 and max(widths) < 256 and len(set(widths)) > 5
    assert {bool(crop[0, 0, -1] > crop[0, 0, 0]) for crop in crops} == {True, False}
