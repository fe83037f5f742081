"""The preprocessor augments in training only, and else gives what mmpretrain's does."""

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmpretrain.datasets import PackInputs
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample
from torch.utils._python_dispatch import TorchDispatchMode

from mman.models import BatchAugmentDataPreprocessor
from mman.models.aux_heads import LocalBatch
from mman.registry import MODELS
from mman.utils import UserError

NORMAL = dict(mean=[120.0, 110.0, 100.0], std=[60.0, 61.0, 62.0], num_classes=4)
FLIP = dict(type='BatchRandomFlip', prob=1.0)
MIXUP = dict(augments=dict(type='Mixup', alpha=1.0))


def batch(count=6):
    """The same pictures as an InMemoryDataset and as a pipeline gives them."""
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (count, 5, 4, 3)).astype(np.uint8)
    labels = [i % 4 for i in range(count)]
    pack = PackInputs()
    stock = default_collate(
        [pack(dict(img=image, gt_label=i)) for image, i in zip(images, labels, strict=True)]
    )
    return dict(inputs=stock['inputs'].clone(), gt_label=torch.tensor(labels)), stock


def assert_same(found, expected):
    assert torch.equal(found['inputs'], expected['inputs'])
    assert found['inputs'].dtype == torch.float32
    assert type(found['data_samples']) is list
    for a, b in zip(found['data_samples'], expected['data_samples'], strict=True):
        assert type(a) is DataSample
        assert a.gt_label.dtype == torch.int64 and torch.equal(a.gt_label, b.gt_label)
        assert ('gt_score' in a) == ('gt_score' in b)
        if 'gt_score' in a:
            assert torch.equal(a.gt_score, b.gt_score)


@pytest.mark.parametrize(
    'keys',
    [
        {},
        dict(to_rgb=True),
        dict(to_onehot=True),
        dict(pad_size_divisor=8),
        dict(batch_augments=MIXUP),
    ],
)
@pytest.mark.parametrize('training', [True, False])
def test_without_augments_it_is_the_stock_one(keys, training):
    own, stock = (
        BatchAugmentDataPreprocessor(**NORMAL, **keys),
        ClsDataPreprocessor(**NORMAL, **keys),
    )
    whole, per_image = batch()
    results = []
    for preprocessor, data in ((stock, batch()[1]), (own, whole), (own, per_image)):
        _seed(7)
        results.append(preprocessor(data, training))
    assert_same(results[1], results[0])
    assert_same(results[2], results[0])


def test_augments_run_in_order_in_training_only():
    crop = dict(type='BatchRandomCrop', padding=2)
    preprocessor = BatchAugmentDataPreprocessor([crop, FLIP], to_rgb=True, **NORMAL)
    stock = ClsDataPreprocessor(to_rgb=True, **NORMAL)
    data, _ = batch()
    torch.manual_seed(1)
    found = preprocessor(data, True)['inputs']
    torch.manual_seed(1)
    by_hand = preprocessor.augments[0](data['inputs']).flip(3)
    assert torch.equal(found, stock(dict(inputs=by_hand))['inputs'])
    assert not torch.equal(found, stock(dict(inputs=data['inputs']))['inputs'])
    tested = preprocessor(data, False)['inputs']
    assert torch.equal(tested, stock(dict(inputs=data['inputs']))['inputs'])


def test_augments_of_a_per_image_batch():
    _, stock = batch()
    expected = stock['inputs'].flip(3).float()
    found = BatchAugmentDataPreprocessor([FLIP])(stock, True)
    assert torch.equal(found['inputs'], expected)
    assert [sample.gt_label.item() for sample in found['data_samples']] == [0, 1, 2, 3, 0, 1]


def test_mixup_follows_the_augments():
    data, stock = batch()
    own = BatchAugmentDataPreprocessor([FLIP], batch_augments=MIXUP, **NORMAL)
    _seed(7)
    # Takes as many random numbers as in the preprocessor.
    flipped = own.augments[0](stock['inputs'])
    assert torch.equal(flipped, stock['inputs'].flip(3))
    expected = ClsDataPreprocessor(batch_augments=MIXUP, **NORMAL)(
        dict(inputs=flipped, data_samples=stock['data_samples']), True
    )
    _seed(7)
    found = own(data, True)
    assert_same(found, expected)
    scores = LocalBatch(**found).target
    assert scores.shape == (6, 4) and torch.any((scores > 0) & (scores < 1))


def _seed(seed):
    """Mixup takes its share from NumPy and its partners from torch."""
    np.random.seed(seed)
    torch.manual_seed(seed)


def test_labels_are_moved_once_and_shared(monkeypatch):
    preprocessor = BatchAugmentDataPreprocessor(**NORMAL)
    cast = []
    original = preprocessor.cast_data
    monkeypatch.setattr(preprocessor, 'cast_data', lambda x: cast.append(x) or original(x))
    data, _ = batch()
    samples = preprocessor(data, True)['data_samples']
    assert sum(isinstance(x, torch.Tensor) and x.dtype == torch.int64 for x in cast) == 1
    assert not any(isinstance(x, list | DataSample) for x in cast)
    assert torch.equal(LocalBatch(data['inputs'], samples).target, data['gt_label'])


class Transfers(TorchDispatchMode):
    """Shapes of what was copied from the host to the device."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].device != out.device:
            self.shapes.append(tuple(out.shape))
        return out


@pytest.mark.parametrize('kind', [ClsDataPreprocessor, BatchAugmentDataPreprocessor])
@pytest.mark.parametrize('scores', [False, True])
def test_labels_of_images_one_by_one_are_moved_once(kind, scores):
    """By mmpretrain's own too, which the configs with per-image pipelines use."""
    _, data = batch()
    if scores:
        for sample in data['data_samples']:
            sample.set_gt_score(torch.eye(4)[int(sample.gt_label)])
    preprocessor = kind(**NORMAL).to('meta')
    with Transfers() as moved:
        samples = preprocessor(data, True)['data_samples']
    assert moved.shapes == [(6, 3, 5, 4), (6,), *([(6, 4)] if scores else [])]
    assert all(sample.gt_label.is_meta for sample in samples)


def test_without_labels():
    data = dict(inputs=batch()[0]['inputs'])
    found = BatchAugmentDataPreprocessor([FLIP], **NORMAL)(data, False)
    assert found['data_samples'] is None and found['inputs'].shape == (6, 3, 5, 4)


def test_nothing_of_it_is_in_a_checkpoint():
    cfg = dict(type='BatchAugmentDataPreprocessor', augments=[FLIP], **NORMAL)
    assert not MODELS.build(cfg).state_dict()


@pytest.mark.parametrize(
    'augments, message',
    [
        (FLIP, r'data_preprocessor\.augments={.*} should be a list'),
        (None, r'data_preprocessor\.augments=None should be a list'),
        (['BatchRandomFlip'], r'data_preprocessor\.augments\[0\] should be a dict with the key'),
        ([FLIP, dict(type='Nothing')], r"augments\[1\]\.type='Nothing' is not registered"),
        ([dict(type='ResNet', depth=18)], "type='ResNet' is not a kind of BatchTransform"),
        (
            [dict(type='BatchRandomFlip', propability=0.5)],
            r"augments\[0\] has the unknown key 'propability' \(value 0\.5\)",
        ),
        ([dict(type='BatchRandomCrop')], r'augments\[0\] lacks padding'),
    ],
)
def test_wrong_augments(augments, message):
    with pytest.raises(UserError, match=message):
        BatchAugmentDataPreprocessor(augments)


@pytest.mark.parametrize(
    'inputs, found',
    [
        (torch.zeros(1, 2, 3, 4, 4), r'images of shape \(1, 2, 3, 4, 4\)'),
        ([torch.zeros(3, 4, 4)], 'images in a list'),
    ],
)
def test_wrong_collate_function(inputs, found):
    with pytest.raises(UserError, match=f'{found}, it needs .* collate_fn of the dataloader'):
        BatchAugmentDataPreprocessor()(dict(inputs=inputs), True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_on_a_gpu():
    """Augmented, normalised and labelled there; the seed of that device decides."""
    crop = dict(type='BatchRandomCrop', padding=2)
    preprocessor = BatchAugmentDataPreprocessor([crop, dict(type='BatchRandomFlip')], **NORMAL)
    preprocessor.cuda()
    results = []
    for _ in range(2):
        torch.cuda.manual_seed(1)
        results.append(preprocessor(batch()[0], True))
    assert results[0]['inputs'].is_cuda and torch.equal(*(r['inputs'] for r in results))
    assert all(sample.gt_label.is_cuda for sample in results[0]['data_samples'])
