"""tools/visualization/browse_samples.py against the pixels of the data set."""

import pytest
import torch
from mmpretrain.structures import DataSample

from mman.registry import DATASETS
from tests.helpers.look_inside import ROOT, assert_one_error, digits_config, picture_size
from tests.helpers.run_tool import call_tool

TOOL = 'visualization/browse_samples.py'


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'visualization'))
    import browse_samples
    import sample_pixels

    return browse_samples.read_samples, sample_pixels.label_name


@pytest.fixture
def cfg(tmp_path):
    return digits_config(tmp_path / 'small.py', images=30)


def in_memory(cfg, *augments):
    loader = cfg.train_dataloader
    inner = dict(loader.dataset)
    inner.pop('pipeline')
    loader.dataset = dict(type='InMemoryDataset', dataset=inner)
    loader.collate_fn = dict(type='in_memory_collate')
    kind = dict(type='BatchAugmentDataPreprocessor', augments=list(augments))
    cfg.data_preprocessor = dict(cfg.data_preprocessor, **kind)
    return cfg


def known(cfg):
    """Class name of every image of the data set, by its bytes."""
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    found = {}
    for i in range(len(dataset)):
        sample = dataset[i]
        found[sample['inputs'].numpy().tobytes()] = str(int(sample['data_samples'].gt_label))
    return found


@pytest.mark.parametrize('memory', [False, True])
def test_images_and_names_are_those_of_the_data_set(tool, cfg, memory):
    expected = known(cfg)
    samples = tool[0](in_memory(cfg) if memory else cfg, 12, 0)
    assert samples.images.shape == (12, 3, 8, 8)
    assert [expected[one.numpy().tobytes()] for one in samples.images] == samples.names
    assert len(set(samples.names)) > 2


@pytest.mark.parametrize('memory', [False, True])
def test_augmentation_shows(tool, cfg, memory):
    expected = known(cfg)
    mirrored = {
        torch.frombuffer(bytearray(key), dtype=torch.uint8).view(3, 8, 8).flip(2): name
        for key, name in expected.items()
    }
    mirrored = {image.contiguous().numpy().tobytes(): name for image, name in mirrored.items()}
    if memory:
        cfg = in_memory(cfg, dict(type='BatchRandomFlip', prob=1.0))
    else:
        flip = dict(type='RandomFlip', prob=1.0, direction='horizontal')
        cfg.train_dataloader.dataset.pipeline.insert(0, flip)
    samples = tool[0](cfg, 12, 0)
    assert [mirrored[one.numpy().tobytes()] for one in samples.images] == samples.names


def test_the_seed_chooses(tool, cfg):
    first, same, other = (tool[0](cfg, 12, seed) for seed in (0, 0, 1))
    assert torch.equal(first.images, same.images) and first.names == same.names
    assert not torch.equal(first.images, other.images)


def test_mixed_samples_have_both_names(tool, cfg):
    cfg.model.train_cfg = dict(augments=dict(type='Mixup', alpha=1.0))
    samples = tool[0](cfg, 12, 0)
    mixed = [name for name in samples.names if '+' in name]
    # Two of one class leave a single name.
    assert len(mixed) > 6
    for name in mixed:
        shares = [float(part.split()[1]) for part in name.split(' + ')]
        assert len(shares) == 2 and shares[0] >= shares[1]
        assert sum(shares) == pytest.approx(1, abs=0.011)


def test_names(tool):
    sample = DataSample().set_gt_label(1)
    assert tool[1](sample, ('cat', 'dog')) == 'dog'
    assert tool[1](sample, None) == '1'
    sample.set_gt_score(torch.tensor([0.25, 0.75]))
    assert tool[1](sample, ('cat', 'dog')) == 'dog 0.75 + cat 0.25'
    sample.set_gt_score(torch.tensor([1.0, 0.0]))
    assert tool[1](sample, ('cat', 'dog')) == 'cat'


@pytest.mark.parametrize(('count', 'size'), [(1, (260, 180)), (7, (390, 480)), (99, (780, 780))])
def test_pictures(cfg, tmp_path, count, size):
    result = call_tool(TOOL, tmp_path / 'small.py', '--images', count, '--out', tmp_path / 'a.png')
    assert result.code == 0, result.errors
    assert f'{min(count, 30)} training images' in result.out
    assert picture_size(tmp_path / 'a.png') == size


@pytest.mark.parametrize(
    ('args', 'named'),
    [
        (['--images', '0'], ['--images', "'0'"]),
        (['--seed', '-1'], ['--seed']),
        (['--cfg-options', 'train_dataloader=None'], ['no train_dataloader']),
        (['--cfg-options', 'model=None'], ['model=None']),
        (['--cfg-options', 'model.type=Absent'], ['Absent', 'registry']),
        (['--cfg-options', 'train_dataloader.dataset.split=all'], ['split', "'all'"]),
    ],
)
def test_bad_input_ends_in_one_error(cfg, tmp_path, args, named):
    result = call_tool(TOOL, tmp_path / 'small.py', '--out', tmp_path / 'a.png', *args)
    assert_one_error(result, *named)
    assert not (tmp_path / 'a.png').exists()
