"""Data that do not go with the rest of a config: seen before they are read, where that can be."""

import pytest
from mmpretrain.datasets import BaseDataset

from mman.apis import load_config, test_model, train_model
from mman.datasets import CIFAR10, STL10, SVHN, Digits, FashionMNIST, InMemoryDataset
from mman.registry import DATASETS
from mman.utils import UserError

# Whoever reads there ends with another error.
_NOWHERE = dict(data_root='no/such/folder', download=False)
_CIFAR, _IN_MEMORY = 'man/resnet32_k16_cifar10', 'man/resnet32_k16-in-memory_cifar10'
_DIGITS = 'man/resnet20_k10_digits'


@DATASETS.register_module(force=True)
class TenDigits(BaseDataset):
    """Ten of the digits, which is not known before they are read."""

    METAINFO = Digits.METAINFO

    def __init__(self, **kwargs):
        super().__init__(ann_file='', **kwargs)

    def load_data_list(self):
        digits = Digits()
        return [digits.get_data_info(number) for number in range(10)]


@pytest.fixture
def refused(tmp_path):
    """``refused(config, run, **options)``: the one line in which it ends; nothing is written."""

    def get(path, run=train_model, **options):
        options = {'train_cfg.max_epochs': 1, **options}
        cfg = load_config(f'configs/{path}.py', options)
        cfg.work_dir = str(tmp_path / 'work')
        with pytest.raises(UserError) as caught:
            run(cfg)
        assert not list(tmp_path.rglob('*.pth'))
        text = str(caught.value)
        assert '\n' not in text
        return text

    return get


def _nowhere(key):
    return {f'{key}.{name}': value for name, value in _NOWHERE.items()}


@pytest.mark.parametrize(
    ('path', 'option', 'value', 'message'),
    [
        (_CIFAR, 'dataset.indices', [0, 50_000], 'indices names the sample 50000, but the split'),
        (_CIFAR, 'batch_size', 50_001, 'gives no batch: its data set has 50000 samples'),
        (_CIFAR, 'dataset.indices', 100, 'gives no batch: its data set has 100 samples'),
        (_IN_MEMORY, 'dataset.dataset.indices', [-50_001], 'names the sample -50001'),
        (_IN_MEMORY, 'batch_size', 50_001, 'gives no batch: its data set has 50000 samples'),
        (_DIGITS, 'dataset.indices', [1438], 'indices names the sample 1438'),
    ],
)
def test_too_few_samples_before_they_are_read(refused, path, option, value, message):
    inner = 'dataset.dataset' if path == _IN_MEMORY else 'dataset'
    data = {} if path == _DIGITS else _nowhere(f'train_dataloader.{inner}')
    options = {**data, 'train_dataloader.drop_last': True, f'train_dataloader.{option}': value}
    text = refused(path, **options)
    assert message in text


@pytest.mark.parametrize(
    ('path', 'inner', 'message'),
    [(_CIFAR, '', 'of train_dataloader.dataset='), (_IN_MEMORY, '.dataset', '(3, 32, 32) that')],
)
def test_images_of_another_size_before_they_are_read(refused, path, inner, message):
    options = {**_nowhere(f'train_dataloader.dataset{inner}'), 'model.input_shape': (3, 64, 64)}
    text = refused(path, **options)
    assert f'model.input_shape=(3, 64, 64) differs from the images {message}' in text


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_no_batch_of_a_data_set_whose_length_is_not_known(refused, split):
    """After it was read, and before anything is trained or measured."""

    def run(cfg):
        loader = cfg[f'{split}_dataloader']
        loader.dataset = dict(type='TenDigits', pipeline=loader.dataset.pipeline)
        loader.drop_last = True
        return test_model(cfg, 'never_read.pth') if split == 'test' else train_model(cfg)

    text = refused(_DIGITS, run)
    assert f'{split}_dataloader gives no batch: its data set has 10 samples' in text


def test_length_of_digits():
    for split in ('train', 'test'):
        assert Digits(split).known_length() == len(Digits(split))
    assert InMemoryDataset(dict(type='Digits')).input_shape == (3, 8, 8)


@pytest.mark.parametrize('dataset', [CIFAR10, FashionMNIST, STL10, SVHN])
def test_published_lengths(dataset):
    def length(split='train', **kwargs):
        kwargs = {**_NOWHERE, 'lazy_init': True, **kwargs}
        return dataset(split=split, **kwargs).known_length()

    # As torchvision's documentation and the pages of the data sets have them.
    published = dict(CIFAR10=50_000, FashionMNIST=60_000, STL10=5_000, SVHN=73_257)
    assert length() == published[dataset.__name__]
    assert length(indices=9) == length(indices=-9) == 9
    assert length(indices=[0, -1, 7]) == 3
    assert length(indices=10**6) == length()
    assert length(verify=False) is None
    with pytest.raises(UserError, match='leaves no sample'):
        length(indices=[])
    inner = dict(type=dataset.__name__, **_NOWHERE, indices=5, lazy_init=True)
    held = InMemoryDataset(inner, lazy_init=True)
    assert held.known_length() == 5
    assert held.input_shape == (3, *dataset(**_NOWHERE, lazy_init=True).image_shape[:2])


def test_parts_of_svhn_add_up():
    assert SVHN.COUNTS['train+extra'] == SVHN.COUNTS['train'] + SVHN.COUNTS['extra']
