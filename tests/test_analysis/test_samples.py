"""mman.analysis.samples against the pixels of the data set."""

import pytest
import torch
from mmpretrain.structures import DataSample

from mman.analysis.samples import draw_samples, label_name, read_samples
from mman.registry import DATASETS
from mman.utils import UserError
from tests.helpers.look_inside import digits_config, in_memory, picture_size


@pytest.fixture
def cfg(tmp_path):
    return digits_config(tmp_path / 'small.py', images=30)


def known(cfg, flipped):
    """Class name of every image of the data set, by its bytes."""
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    found = {}
    for i in range(len(dataset)):
        image = dataset[i]['inputs'].flip(2) if flipped else dataset[i]['inputs']
        label = int(dataset[i]['data_samples'].gt_label)
        found[image.contiguous().numpy().tobytes()] = str(label)
    return found


@pytest.mark.parametrize('memory', [False, True])
@pytest.mark.parametrize('flipped', [False, True])
def test_images_and_names_are_those_of_the_data_set(cfg, memory, flipped):
    expected = known(cfg, flipped)
    if memory:
        in_memory(cfg, dict(type='BatchRandomFlip', prob=float(flipped)))
    elif flipped:
        flip = dict(type='RandomFlip', prob=1.0, direction='horizontal')
        cfg.train_dataloader.dataset.pipeline.insert(0, flip)
    images, names = read_samples(cfg, 12)
    assert images.shape == (12, 3, 8, 8)
    assert [expected[one.numpy().tobytes()] for one in images] == names
    assert len(set(names)) > 2


def test_the_seed_chooses(cfg):
    first, same, other = (read_samples(cfg, 12, seed) for seed in (0, 0, 1))
    assert torch.equal(first[0], same[0]) and first[1] == same[1]
    assert not torch.equal(first[0], other[0])


def test_mixed_samples_have_both_names(cfg):
    cfg.model.train_cfg = dict(augments=dict(type='Mixup', alpha=1.0))
    _, names = read_samples(cfg, 12, 0)
    mixed = [name for name in names if '+' in name]
    # Two of one class leave a single name.
    assert len(mixed) > 6
    for name in mixed:
        shares = [float(part.split()[1]) for part in name.split(' + ')]
        assert len(shares) == 2 and shares[0] >= shares[1]
        assert sum(shares) == pytest.approx(1, abs=0.011)


def test_names():
    sample = DataSample().set_gt_label(1)
    assert label_name(sample, ('cat', 'dog')) == 'dog'
    assert label_name(sample, None) == '1'
    sample.set_gt_score(torch.tensor([0.25, 0.75]))
    assert label_name(sample, ('cat', 'dog')) == 'dog 0.75 + cat 0.25'
    sample.set_gt_score(torch.tensor([1.0, 0.0]))
    assert label_name(sample, ('cat', 'dog')) == 'cat'


def test_fewer_than_asked_for_are_all(cfg):
    assert len(read_samples(cfg, 99)[1]) == 30


@pytest.mark.parametrize(('count', 'size'), [(1, (260, 180)), (7, (390, 480)), (30, (780, 780))])
def test_pictures(tmp_path, count, size):
    images = torch.zeros(count, 3, 8, 8, dtype=torch.uint8)
    draw_samples(tmp_path / 'a.png', images, ['a'] * count, 'title')
    assert picture_size(tmp_path / 'a.png') == size


def test_a_config_without_training_data(cfg):
    cfg.train_dataloader = None
    with pytest.raises(UserError, match='no train_dataloader'):
        read_samples(cfg, 4)
