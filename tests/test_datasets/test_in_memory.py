"""InMemoryDataset gives the pictures that a pipeline of PackInputs alone gives."""

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.dataset import sampler as sampler_module
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from mmpretrain.models import ClsDataPreprocessor

from mman.datasets import Digits, InMemoryDataset
from mman.models import BatchAugmentDataPreprocessor
from mman.registry import DATASETS, METRICS
from mman.utils import UserError
from tests.helpers.pictures import Pictures

PACK = [dict(type='PackInputs')]
NORMAL = dict(mean=[120.0, 110.0, 100.0], std=[60.0, 61.0, 62.0])

pytestmark = pytest.mark.usefixtures('mman_scope')


def loader(dataset, collate, shuffle=True, num_workers=0, batch_size=8, **keys):
    return Runner.build_dataloader(
        dict(
            dataset=dataset,
            batch_size=batch_size,
            num_workers=num_workers,
            sampler=dict(type='DefaultSampler', shuffle=shuffle),
            collate_fn=dict(type=collate),
            **keys,
        ),
        seed=3,
    )


def both_loaders(make=Pictures, **keys):
    """Of the same pictures: per image, and in memory."""
    return (
        loader(make(pipeline=PACK), 'default_collate', **keys),
        loader(InMemoryDataset(make()), 'in_memory_collate', **keys),
    )


def assert_same_batches(per_image, in_memory, to_rgb=False, training=True):
    """To the bit, from the loader through the data preprocessor; returns how many."""
    stock = ClsDataPreprocessor(**NORMAL, to_rgb=to_rgb)
    own = BatchAugmentDataPreprocessor(**NORMAL, to_rgb=to_rgb)
    count = 0
    for expected, found in zip(per_image, in_memory, strict=True):
        assert found['inputs'].dtype == torch.uint8
        assert torch.equal(found['inputs'], expected['inputs'])
        expected, found = stock(expected, training), own(found, training)
        assert torch.equal(found['inputs'], expected['inputs'])
        labels = [[s.gt_label.tolist() for s in b['data_samples']] for b in (expected, found)]
        assert labels[0] == labels[1] and labels[0]
        count += 1
    return count


@pytest.mark.parametrize('num_workers', [0, 2])
@pytest.mark.parametrize('drop_last, batches', [(True, 2), (False, 3)])
def test_training_without_augments_is_the_per_image_pipeline(num_workers, drop_last, batches):
    loaders = both_loaders(num_workers=num_workers, drop_last=drop_last)
    assert assert_same_batches(*loaders) == batches


@pytest.mark.parametrize('to_rgb', [True, False])
@pytest.mark.parametrize('shape', [(6, 5, 3), (5, 6, 1), (4, 7)])
def test_validation_is_the_per_image_pipeline(shape, to_rgb):
    def make(**keys):
        return Pictures(shape=shape, **keys)

    assert_same_batches(*both_loaders(make, shuffle=False), to_rgb=to_rgb, training=False)


def test_epochs_differ_as_the_sampler_says():
    loaders = both_loaders()
    orders = []
    for epoch in range(2):
        for one in loaders:
            one.sampler.set_epoch(epoch)
        assert_same_batches(*loaders)
        orders.append([batch['gt_label'].tolist() for batch in loaders[1]])
    assert orders[0] != orders[1]


@pytest.mark.parametrize('count', [20, 21])
def test_two_ranks_partition_the_pictures(monkeypatch, count):
    seen = []
    for rank in range(2):
        monkeypatch.setattr(sampler_module, 'get_dist_info', lambda rank=rank: (rank, 2))
        loaders = both_loaders(lambda **keys: Pictures(count=count, **keys), batch_size=4)
        assert_same_batches(*loaders)
        seen.append([label for batch in loaders[1] for label in batch['gt_label'].tolist()])
    assert len(seen[0]) == len(seen[1]) == (count + 1) // 2
    assert set(seen[0]) | set(seen[1]) == set(range(count))
    # The sampler repeats one picture to make the parts equal.
    assert len(set(seen[0]) & set(seen[1])) == count % 2


@pytest.mark.full
def test_workers_started_anew_share_the_tensors():
    """With spawn nothing is inherited: what is not shared would be copied."""
    per_image, _ = both_loaders()
    _, in_memory = both_loaders(num_workers=2, multiprocessing_context='spawn')
    assert_same_batches(per_image, in_memory)
    assert in_memory.dataset.images.is_shared() and in_memory.dataset.labels.is_shared()


@pytest.mark.parametrize('indices', [5, [7, 2, 11]])
def test_indices_of_the_wrapped_data_set(indices):
    data = InMemoryDataset(Pictures(indices=indices))
    assert data.labels.tolist() == (list(range(5)) if indices == 5 else indices)
    assert len(data) == len(data.labels)


def test_single_samples():
    data, per_image = InMemoryDataset(Pictures()), Pictures(pipeline=PACK)
    for i in (0, 19, -1):
        assert torch.equal(data[i]['inputs'], per_image[i]['inputs'])
        assert torch.equal(data[i]['data_samples'].gt_label, per_image[i]['data_samples'].gt_label)
    with pytest.raises(IndexError):
        data[20]


def test_under_another_wrapper_it_is_read_image_by_image():
    """torch's cannot fetch batches; mmengine's refuse what is no BaseDataset."""
    wrapped = torch.utils.data.ConcatDataset([InMemoryDataset(Pictures()) for _ in range(2)])
    expected = ConcatDataset([Pictures(pipeline=PACK) for _ in range(2)])
    loaders = [loader(data, 'default_collate') for data in (expected, wrapped)]
    for expected, found in zip(*loaders, strict=True):
        assert torch.equal(found['inputs'], expected['inputs'])


def test_a_number_of_batches_per_epoch():
    """mmengine cuts the data set by a wrapper of its own."""
    cut = loader(InMemoryDataset(Pictures()), 'in_memory_collate', num_batch_per_epoch=2)
    assert [len(batch['inputs']) for batch in cut] == [8, 8]


@pytest.mark.parametrize('serialize_data', [True, False])
def test_memory(serialize_data):
    data = InMemoryDataset(Pictures(serialize_data=serialize_data))
    assert data.images.dtype == torch.uint8 and data.labels.dtype == torch.int64
    assert data.images.nbytes == 20 * 6 * 5 * 3 and data.images.is_contiguous()
    assert not any(isinstance(value, BaseDataset) for value in vars(data).values())


def test_metainfo_and_classes():
    data = InMemoryDataset(dict(type='Digits', split='test', indices=20))
    assert data.metainfo == Digits('test', indices=20).metainfo
    assert data.CLASSES == tuple('0123456789')


def test_lazy_init():
    cfg = dict(type='Digits', split='test', lazy_init=True)
    data = DATASETS.build(dict(type='InMemoryDataset', dataset=cfg, lazy_init=True))
    assert not hasattr(data, 'images') and len(data.metainfo['classes']) == 10
    assert len(data) == 359 and hasattr(data, 'images')


def test_accuracy_reads_its_batches():
    data = InMemoryDataset(Pictures(count=8))
    (batch,) = loader(data, 'in_memory_collate', shuffle=False)
    samples = BatchAugmentDataPreprocessor()(batch)['data_samples']
    for i, sample in enumerate(samples):
        sample.set_pred_score(torch.eye(8)[i if i < 6 else 0])
    evaluator = Evaluator(METRICS.build(dict(type='Accuracy')))
    evaluator.process(data_samples=samples, data_batch=batch)
    assert evaluator.evaluate(8)['accuracy/top1'] == 75


@pytest.mark.parametrize('collate', ['default_collate', 'pseudo_collate'])
def test_another_collate_function_is_named(collate):
    batch = next(iter(loader(InMemoryDataset(Pictures()), collate)))
    with pytest.raises(UserError, match=r"collate_fn of the dataloader should be dict\(type='in_m"):
        BatchAugmentDataPreprocessor()(batch, True)


@pytest.mark.parametrize('batch_size', [1, 4])
def test_another_data_set_is_named(batch_size):
    batches = loader(Pictures(pipeline=PACK), 'in_memory_collate', batch_size=batch_size)
    with pytest.raises(UserError, match='must be an InMemoryDataset itself'):
        next(iter(batches))


class Odd(BaseDataset):
    """Two samples, the second with another value of a key."""

    def __init__(self, **changed):
        self.changed = changed
        super().__init__()

    def load_data_list(self):
        sample = dict(img=np.zeros((4, 5, 3), np.uint8), gt_label=1)
        return [sample, {**sample, **self.changed}]


@pytest.mark.parametrize(
    'changed, message',
    [
        (
            dict(img=np.zeros((5, 4, 3), np.uint8)),
            r'image 1 of Odd has the .* \(3, 5, 4\), but the',
        ),
        (dict(img=np.zeros((4, 5, 3))), r'sample 1 of Odd has img=float64 \(4, 5, 3\); it must be'),
        (dict(img=np.zeros(4, np.uint8)), r'sample 1 of Odd has img=uint8 \(4,\); it must be'),
        (dict(img=None, img_path='a.png'), 'sample 1 of Odd has img=None; it must be'),
        (dict(gt_label=[1, 2]), r'sample 1 of Odd has gt_label=\[1, 2\]; it must be one whole'),
        (dict(gt_label=None), 'sample 1 of Odd has gt_label=None; it must be'),
    ],
)
def test_samples_that_do_not_fit(changed, message):
    with pytest.raises(UserError, match=f'InMemoryDataset: the {message}'):
        InMemoryDataset(Odd(**changed))


@pytest.mark.parametrize(
    'dataset, keys, message',
    [
        (lambda: Pictures(pipeline=PACK), {}, r'dataset\.pipeline=\[PackInputs\] must be empty'),
        (lambda: ConcatDataset([Pictures()]), {}, r"dataset\.type='ConcatDataset' must be a Base"),
        (
            lambda: Pictures(indices=[], serialize_data=False),
            {},
            'Pictures must hold at least one sample',
        ),
        (Pictures, dict(indices=5), r'indices=5 must stand in .* as dataset\.dataset\.indices of'),
        (Pictures, dict(max_gib=0), r'max_gib=0 must be a number above 0'),
        (Pictures, dict(max_gib='4'), r"max_gib='4' must be a number above 0"),
        (
            lambda: Pictures(count=1000, shape=(32, 32, 3)),
            dict(max_gib=0.002),
            r'max_gib=0\.002 must be at least 0\.00286 for the 1,000 images of Pictures, 3 x 32',
        ),
    ],
)
def test_wrong_keys(dataset, keys, message):
    with pytest.raises(UserError, match=f'InMemoryDataset: {message}'):
        InMemoryDataset(dataset(), **keys)


def test_pool_averages_squares_and_rounds():
    whole, pooled = (InMemoryDataset(Pictures(shape=(6, 4, 3)), pool=p) for p in (1, 2))
    expected = whole.images.double().unfold(2, 2, 2).unfold(3, 2, 2).mean((-2, -1)).round()
    assert torch.equal(pooled.images.double(), expected)
    assert torch.equal(pooled.labels, whole.labels)
    lazy = InMemoryDataset(dict(type='Digits'), pool=2, lazy_init=True)
    assert lazy.input_shape == (3, 4, 4)
    lazy.full_init()
    assert lazy.input_shape == (3, 4, 4)


@pytest.mark.parametrize('pool', [0, 1.5, True, 3])
def test_a_pool_that_does_not_fit_is_refused(pool):
    with pytest.raises(UserError, match=rf'pool={pool} must'):
        InMemoryDataset(Digits(), pool=pool)
