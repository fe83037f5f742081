"""Data that do not go with the rest of a config: seen before they are read, where that can be."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.evaluator import DumpResults, Evaluator
from mmpretrain.datasets import BaseDataset

from mman.apis import build_runner, test_model, train_model
from mman.datasets import CIFAR10, STL10, SVHN, Digits, FashionMNIST, InMemoryDataset
from mman.registry import DATASETS, METRICS, register_all_modules
from mman.utils import UserError
from mman.validation import dry_run, warn_of_size
from mman.validation.dry_run import _metrics
from tests.helpers.wrong_configs import spoilt

# Whoever reads there ends with another error.
_NOWHERE = dict(data_root='no/such/folder', download=False)
_PACK = [dict(type='PackInputs')]


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
    """``refused(run, base, changes)``: the one line in which it ends; nothing is saved."""

    def get(run, base, changes):
        cfg = Config(spoilt(base, changes))
        cfg.work_dir = str(tmp_path / 'work')
        with pytest.raises(UserError) as caught:
            run(cfg)
        assert not list(tmp_path.rglob('*.pth'))
        text = str(caught.value)
        assert '\n' not in text
        return text

    return get


def _cifar(shape=(3, 32, 32), batch_size=8, **kwargs):
    """A small network for CIFAR-10, whose files are not there."""
    data = dict(type='CIFAR10', **_NOWHERE, pipeline=_PACK, **kwargs)
    changes = {'dataset': data, 'batch_size': batch_size}
    return _train(changes) | {'model.input_shape': list(shape)}


def _in_memory(shape=(3, 32, 32), batch_size=8, **kwargs):
    inner = dict(type='CIFAR10', **_NOWHERE, **kwargs)
    changes = {'dataset.dataset': inner, 'batch_size': batch_size}
    return _train(changes) | {'model.input_shape': list(shape)}


def _train(changes):
    return {f'train_dataloader.{key}': value for key, value in changes.items()}


@pytest.mark.parametrize(
    ('base', 'changes', 'message'),
    [
        ('bp', _cifar(indices=[0, 50_000]), 'indices names the sample 50000, but the split'),
        ('bp', _cifar(batch_size=50_001), 'gives no batch: its data set has 50000 samples'),
        ('bp', _cifar(indices=7), 'gives no batch: its data set has 7 samples'),
        ('bp', _cifar((3, 64, 64)), 'input_shape=(3, 64, 64) differs from the images of train_'),
        ('greedy-in-memory', _in_memory(indices=[-50_001]), 'names the sample -50001'),
        ('greedy-in-memory', _in_memory(batch_size=50_001), 'its data set has 50000 samples'),
        ('greedy-in-memory', _in_memory((3, 64, 64)), 'from the images (3, 32, 32) that'),
    ],
)
def test_what_does_not_fit_before_it_is_read(refused, base, changes, message):
    assert message in refused(train_model, base, changes)


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_no_batch_of_a_data_set_whose_length_is_not_known(refused, split):
    """After it was read, and before anything is trained or measured."""

    def run(cfg):
        return test_model(cfg, 'never_read.pth') if split == 'test' else train_model(cfg)

    loader = f'{split}_dataloader'
    changes = {'dataset': dict(type='TenDigits', pipeline=_PACK), 'drop_last': True}
    changes = {f'{loader}.{key}': value for key, value in changes.items()}
    text = refused(run, 'bp', {**changes, f'{loader}.batch_size': 11})
    assert f'{loader} gives no batch: its data set has 10 samples' in text


def test_the_dry_run_leaves_the_runner_as_it_is(tmp_path):
    """A training is the same to the bit as one of a Runner that was not tried."""

    def weights(tried):
        cfg = Config(spoilt('manpp-dgl', {}))
        cfg.work_dir = str(tmp_path / str(tried))
        runner = build_runner(cfg)
        if tried:
            runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
            dry_run(runner)
            assert isinstance(runner._train_loop, dict) and isinstance(runner._val_loop, dict)
        runner.train()
        return runner.model.state_dict()

    tried, plain = weights(True), weights(False)
    assert all((tried[name] == plain[name]).all() for name in plain)


@pytest.mark.parametrize('split', ['val', 'test'])
def test_a_test_of_another_size_is_warned_of(split):
    lines, logger = [], SimpleNamespace(warning=lambda line: lines.append(line))
    runner = SimpleNamespace(model=SimpleNamespace(input_shape=[3, 8, 8]), logger=logger)
    right, other = (
        Digits('test', lazy_init=True, pipeline=[dict(type='Resize', scale=size), *_PACK])
        for size in (8, 16)
    )
    warn_of_size(runner, right, right if split == 'val' else None)
    assert not lines
    if split == 'val':
        runner.model = SimpleNamespace()
    warn_of_size(runner, other, right)
    name = 'those of val_dataloader' if split == 'val' else 'model.input_shape'
    assert f'(3, 16, 16), but {name} are (3, 8, 8)' in lines.pop() and not lines


def test_length_of_digits():
    for split in ('train', 'test'):
        assert Digits(split).known_length() == len(Digits(split))
    assert InMemoryDataset(dict(type='Digits')).input_shape == (3, 8, 8)


def test_published_lengths():
    # As torchvision's documentation and the pages of the data sets have them.
    published = {CIFAR10: 50_000, FashionMNIST: 60_000, STL10: 5_000, SVHN: 73_257}
    for dataset, count in published.items():

        def length(split='train', dataset=dataset, **kwargs):
            kwargs = {**_NOWHERE, 'lazy_init': True, **kwargs}
            return dataset(split=split, **kwargs).known_length()

        assert length() == length(indices=count) == count
        assert length(per_class=3) == 30
        with pytest.raises(UserError, match=f'is more than the {count} samples'):
            length(indices=count + 1)
        assert length(indices=9) == length(indices=-9) == 9
        assert length(indices=[0, -1, 7]) == 3
        assert length(verify=False) is None
        with pytest.raises(UserError, match='leaves no sample'):
            length(indices=[])
        inner = dict(type=dataset.__name__, **_NOWHERE, indices=5, lazy_init=True)
        held = InMemoryDataset(inner, lazy_init=True)
        assert held.known_length() == 5
        assert held.input_shape == (3, *dataset(**_NOWHERE, lazy_init=True).image_shape[:2])


def test_parts_of_svhn_add_up():
    assert SVHN.COUNTS['train+extra'] == SVHN.COUNTS['train'] + SVHN.COUNTS['extra']


def test_to_ask_for_the_names_of_metrics_replaces_no_file(tmp_path):
    register_all_modules()
    file = tmp_path / 'predictions.pkl'
    file.write_bytes(b'of another run')
    dump = DumpResults(out_file_path=str(file))
    evaluator = Evaluator([METRICS.build(dict(type='Accuracy')), dump])
    assert _metrics(evaluator, 10) == ['accuracy/top1']
    assert file.read_bytes() == b'of another run'
