"""Training on cached features is the training without them; the cache is whole, or not there."""

import copy
import itertools
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmpretrain.datasets import BaseDataset

from mman.apis import cache_bytes, feature_cache, feature_writer, train_model, use_feature_cache
from mman.apis.models import build_model
from mman.datasets import CachedFeatures, Digits
from mman.registry import DATASETS, HOOKS, MODELS
from mman.utils import DataError, UserError
from mman.utils.atomic_file import GrowingFile
from mman.utils.random_state import seeded
from tests.helpers.cutting import GREEDY, POOL

full = pytest.mark.full
BLOCK, SIZE = 'BlockOptimWrapper', 8
RESNET20 = dict(type='CIFARResNet', depth=20, widths=(8, 8, 16, 32))
MAN = dict(
    type='MomentumAuxHead',
    mix='scaled',
    host=dict(type='InfoProAuxHead', reconstruction_weight=1.0, task_weight=1.0),
)
VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=24, num_layers=4, num_heads=2, feedforward_channels=48),
    img_size=8,
    patch_size=4,
)
_numbers = itertools.count()


def make_cfg(folder, count=3 * SIZE, pipeline=(), **keys):
    """Two epochs of digits; block 0 rests."""
    pipeline = [*pipeline, dict(type='PackInputs')]
    cfg = Config(
        dict(
            model=dict(
                type='LocalImageClassifier',
                backbone=RESNET20,
                splitter=dict(type='LocalBlockSplitter', ends=['1.0', '2.0', '2.2', '3.2']),
                input_shape=(3, 8, 8),
                aux_head=GREEDY,
                train_blocks=[1, 3],
                neck=POOL,
                head=dict(type='LinearClsHead', num_classes=10, in_channels=32),
                data_preprocessor=dict(mean=[78.0] * 3, std=[96.0] * 3),
            ),
            work_dir=str(folder / 'run'),
            experiment_name=f'feature-cache-{next(_numbers)}',
            default_scope='mman',
            train_dataloader=dict(
                batch_size=SIZE,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=True),
                dataset=dict(type='Digits', indices=count, pipeline=pipeline),
            ),
            optim_wrapper=dict(
                type=BLOCK,
                constructor='BlockOptimWrapperConstructor',
                optimizer=dict(type='SGD', lr=0.05, momentum=0.9),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            custom_hooks=[dict(type='MomentumUpdateHook', decay=0.9), dict(type='LossesHook')],
            randomness=dict(seed=3),
        )
    )
    cfg.merge_from_dict(keys)
    cfg.load_from = _weights(cfg, folder)
    return cfg


def _weights(cfg, folder, seed=1):
    """A checkpoint with statistics unlike those of any start."""
    path = folder / f'weights{seed}.pth'
    torch.manual_seed(seed)
    model = build_model(cfg)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            # Copies of units start when training starts.
            if value.is_floating_point() and 'unit' not in name:
                value.add_(torch.rand_like(value) / 10)
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


@HOOKS.register_module(force=True)
class LossesHook(Hook):
    """Losses of every iteration, and the blocks that ran, of the last run."""

    losses: list = []
    ran: set = set()

    def before_train(self, runner):
        LossesHook.losses, LossesHook.ran = [], set()
        for k, block in enumerate(runner.model.local_blocks):
            block.layers[0].register_forward_hook(lambda *_, k=k: LossesHook.ran.add(k))

    def after_train_iter(self, runner, *args, **kwargs):
        LossesHook.losses.append(runner.model.block_losses)


def trained(cfg):
    state = copy.deepcopy(train_model(cfg).model.state_dict())
    return state, torch.stack(LossesHook.losses), LossesHook.ran


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob('*') if path.is_file()}


def view(cfg, number=0):
    """The folder of a view of the one cache of a config's work dir."""
    (place,) = cfg_folder(cfg).glob(f'block*/view{number}')
    return place


def cfg_folder(cfg):
    return Path(cfg.work_dir) / 'feature_cache'


IN_MEMORY = {
    'model.data_preprocessor.type': 'BatchAugmentDataPreprocessor',
    'train_dataloader.collate_fn': dict(type='in_memory_collate'),
    'train_dataloader.dataset': dict(
        _delete_=True, type='InMemoryDataset', dataset=dict(type='Digits', indices=3 * SIZE)
    ),
}
BFLOAT16 = {
    'optim_wrapper.type': 'BlockAmpOptimWrapper',
    'optim_wrapper.dtype': 'bfloat16',
}
TOKENS = {
    'model.backbone': dict(VIT, _delete_=True),
    'model.neck': None,
    'model.head.in_channels': 24,
    'model.splitter.ends': ['1.0', '1.1', '1.2', '1.3'],
}


@pytest.mark.parametrize(
    ('keys', 'stored'),
    [
        pytest.param({}, {'features.bin', 'labels.bin'}, marks=full),
        ({'model.aux_head': MAN}, {'features.bin', 'labels.bin', 'images.bin'}),
        # Only the block that rests has a head that needs images.
        pytest.param(
            {'model.aux_head': [MAN, GREEDY, GREEDY]}, {'features.bin', 'labels.bin'}, marks=full
        ),
        pytest.param({'model.memory_format': 'channels_last'}, None, marks=full),
        pytest.param({'model.aux_head': MAN, **BFLOAT16}, None, marks=full),
        pytest.param({**TOKENS, 'model.memory_format': 'channels_last'}, None, marks=full),
        pytest.param({'model.aux_head': MAN, **IN_MEMORY}, None, marks=full),
        pytest.param({'train_dataloader.num_workers': 2}, None, marks=full),
    ],
    ids=[
        *('greedy', 'images', 'no images', 'channels_last', 'bfloat16', 'tokens', 'in memory'),
        'workers',
    ],
)
def test_training_is_that_without_a_cache(tmp_path, keys, stored):
    keys = copy.deepcopy(keys)
    expected, losses, ran = trained(make_cfg(tmp_path, **keys))
    assert 0 in ran
    cfg = make_cfg(tmp_path, feature_cache=dict(views=1), **copy.deepcopy(keys))
    found, found_losses, found_ran = trained(cfg)
    assert torch.equal(found_losses, losses) and len(losses) == 6
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert found_ran == ran - set(range(cfg.model.train_blocks[0]))
    if stored is not None:
        assert files(view(cfg)).keys() == {*stored, 'index.json'}


CROP = dict(type='RandomCrop', crop_size=8, padding=1)
FLIP = [dict(type='BatchRandomFlip')]


@pytest.fixture
def augmented(tmp_path):
    """A config with augmentation in its pipeline and of whole batches, and a batch not full."""
    return make_cfg(
        tmp_path,
        20,
        [CROP],
        **{
            'model.aux_head': MAN,
            'model.data_preprocessor.type': 'BatchAugmentDataPreprocessor',
            'model.data_preprocessor.augments': FLIP,
        },
    )


def test_a_view_has_the_images_of_its_seed_and_their_features(augmented):
    first = copy.deepcopy(augmented)
    use_feature_cache(first, views=2)
    data = DATASETS.build(first.train_dataloader.dataset)
    plain = Digits(indices=20, pipeline=[CROP, dict(type='PackInputs')])
    flip = MODELS.build(FLIP[0])
    model = build_model(augmented)
    model.load_state_dict(torch.load(augmented.load_from)['state_dict'])
    backbone = model.eval().backbone
    images = []
    for v in range(2):
        with seeded(3, v, 13):
            sample = plain[13]
            images.append(flip(sample['inputs'][None]))
        assert sample['data_samples'].gt_label == data[13]['data_samples'].gt_label
    assert not torch.equal(*images)
    drawn = {}
    for number in range(20):
        np.random.seed(number)
        item = data[13]
        drawn[item['inputs'].numpy().tobytes()] = item
    assert len(drawn) == 2
    for image in images:
        item = drawn[image[0].numpy().tobytes()]
        with torch.no_grad():
            x = backbone.relu(backbone.bn1(backbone.conv1((image.float() - 78) / 96)))
            x = backbone.layer1[0](x)
        torch.testing.assert_close(item['features'], x[0], rtol=1e-4, atol=1e-4)


def test_a_view_is_the_same_whenever_it_is_written(augmented, tmp_path):
    one, two = copy.deepcopy(augmented), copy.deepcopy(augmented)
    use_feature_cache(one, tmp_path / 'one', views=2)
    before = torch.get_rng_state()
    two.train_dataloader.num_workers = 1
    use_feature_cache(two, tmp_path / 'two', views=1)
    assert torch.equal(torch.get_rng_state(), before)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / 'two').rglob('view0/*')}
    two.train_dataloader.dataset = augmented.train_dataloader.dataset
    use_feature_cache(two, tmp_path / 'two', views=2)
    assert written == {p: p.stat().st_mtime_ns for p in (tmp_path / 'two').rglob('view0/*')}
    for number in range(2):
        (a,), (b,) = ((tmp_path / name).glob(f'*/view{number}') for name in ('one', 'two'))
        assert files(a) == files(b)


@pytest.mark.parametrize(
    ('where', 'number'),
    [
        ((GrowingFile, 'write'), 4),
        pytest.param((GrowingFile, 'finish'), 2, marks=full),
        pytest.param((feature_writer, 'write_index'), 2, marks=full),
    ],
    ids=['writing', 'finishing', 'index of the second view'],
)
def test_a_killed_writer_leaves_what_the_next_completes(augmented, tmp_path, where, number):
    whole, other = copy.deepcopy(augmented), copy.deepcopy(augmented)
    whole.work_dir = str(tmp_path / 'whole')
    use_feature_cache(whole, views=2)
    owner, name = where
    step, calls = getattr(owner, name), itertools.count(1)

    def killing(*args):
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*args)

    pid = os.fork()
    if not pid:
        torch.set_num_threads(1)
        setattr(owner, name, killing)
        use_feature_cache(copy.deepcopy(augmented), views=2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    (place,) = cfg_folder(other).iterdir()
    unfinished = [v for v in range(2) if not (place / f'view{v}' / 'index.json').exists()]
    assert unfinished
    with pytest.raises(DataError, match=f'has no finished view{unfinished[0]}'):
        CachedFeatures(str(place), views=2)
    use_feature_cache(other, views=2)
    for v in range(2):
        assert files(view(other, v)) == files(view(whole, v))


def test_a_damaged_file_is_named_and_written_anew_once_it_is_deleted(augmented):
    cfg = copy.deepcopy(augmented)
    use_feature_cache(cfg)
    sound = files(view(cfg))
    assert len(sound) == 4
    for name, content in sound.items():
        path, middle = view(cfg) / name, len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        for changed in (flipped, content[:-3]):
            path.write_bytes(changed)
            with pytest.raises(DataError, match=f'{name}.* is damaged .*: delete it') as error:
                DATASETS.build(cfg.train_dataloader.dataset)
            assert '\n' not in str(error.value)
        path.write_bytes(content)
    (view(cfg) / 'images.bin').unlink()
    use_feature_cache(augmented)
    assert files(view(augmented)) == sound


@pytest.mark.parametrize('dtype', ['float16', pytest.param('bfloat16', marks=full)])
def test_a_smaller_type_rounds_once(tmp_path, dtype):
    rounded, exact = make_cfg(tmp_path), make_cfg(tmp_path)
    use_feature_cache(rounded, dtype=dtype)
    use_feature_cache(exact)
    pairs = [DATASETS.build(cfg.train_dataloader.dataset) for cfg in (rounded, exact)]
    for a, b in zip(*pairs, strict=True):
        assert a['features'].dtype == b['features'].dtype == torch.float32
        assert torch.equal(a['features'], b['features'].to(getattr(torch, dtype)).float())
        assert not torch.equal(a['features'], b['features'])


@full
def test_what_float16_cannot_hold_is_refused(tmp_path):
    cfg = make_cfg(tmp_path)
    weights = torch.load(cfg.load_from)
    weights['state_dict']['backbone.layer1.0.bn2.weight'].fill_(1e6)
    torch.save(weights, cfg.load_from)
    with pytest.raises(UserError, match="dtype='float16' cannot hold what block 0 gives"):
        use_feature_cache(copy.deepcopy(cfg), dtype='float16')
    use_feature_cache(cfg, dtype='bfloat16')


@MODELS.register_module(force=True)
class OwnPreprocessor(MODELS.get('mmpretrain.ClsDataPreprocessor')):
    """One that may do anything."""


MIXUP = dict(augments=dict(type='Mixup', alpha=0.2))


@pytest.mark.parametrize(
    ('keys', 'arguments', 'message'),
    [
        ({}, dict(views=0), 'feature_cache.views=0 should be an integer from 1 on'),
        pytest.param({}, dict(views=True), 'feature_cache.views=True should be', marks=full),
        ({}, dict(dtype='int8'), "feature_cache.dtype='int8' should be one of float32, float16"),
        ({'launcher': 'pytorch'}, {}, "leave it out with launcher='pytorch'"),
        ({'load_from': None}, {}, 'feature_cache needs load_from, .* before block 1'),
        pytest.param(
            {'load_from': '/no/such.pth'}, {}, "'/no/such.pth' should be a local file", marks=full
        ),
        ({'model.train_blocks': [0, 1]}, {}, r'model.train_blocks=\[0, 1\] should start above 0'),
        pytest.param(
            {'model.train_blocks': None}, {}, 'should start above 0 with feature_cache', marks=full
        ),
        (
            {'model.data_preprocessor': dict(num_classes=10, batch_augments=MIXUP)},
            {},
            'data_preprocessor.batch_augments mixes images',
        ),
        (
            {'model.data_preprocessor.type': 'OwnPreprocessor'},
            {},
            "data_preprocessor.type='OwnPreprocessor' should be",
        ),
        pytest.param(
            {'train_dataloader.dataset': dict(type='CachedFeatures', folder='x', _delete_=True)},
            {},
            'is CachedFeatures already',
            marks=full,
        ),
        ({'model.splitter.ends': ['2.0', '2.1', '3.0', '3.2']}, {}, 'does not fit the model'),
    ],
)
def test_what_cannot_be_cached_is_refused_in_one_line(tmp_path, keys, arguments, message):
    cfg = make_cfg(tmp_path)
    cfg.merge_from_dict(keys)
    with pytest.raises(UserError, match=message) as error:
        use_feature_cache(cfg, **arguments)
    assert '\n' not in str(error.value)
    assert not cfg_folder(cfg).exists()


def test_blocks_that_rest_in_train_mode_are_refused():
    model = SimpleNamespace(trained_blocks=(1,), resting_mode='train')
    with pytest.raises(UserError, match="model.resting_mode='train' should be 'eval'"):
        feature_cache._check_model(model)


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (dict(veiws=2), "feature_cache has the unknown key 'veiws'.* did you mean 'views'"),
        pytest.param(dict(views='2'), "feature_cache.views='2' of .* should be", marks=full),
        pytest.param('yes', "feature_cache='yes'", marks=full),
    ],
)
def test_a_wrong_key_in_a_config_is_refused(tmp_path, value, message):
    with pytest.raises(UserError, match=message):
        train_model(make_cfg(tmp_path, feature_cache=value))


def test_features_of_other_weights_or_images_are_refused(tmp_path, monkeypatch):
    cfg, other = make_cfg(tmp_path), make_cfg(tmp_path)
    again = copy.deepcopy(cfg)
    use_feature_cache(cfg)
    other.train_dataloader = cfg.train_dataloader
    other.load_from = _weights(other, tmp_path, seed=2)
    with pytest.raises(UserError, match='has features of other weights than the resting blocks'):
        train_model(other)
    load = Digits.load_data_list
    monkeypatch.setattr(Digits, 'load_data_list', lambda self: load(self)[::-1])
    with pytest.raises(UserError, match='is of other images than train_dataloader.dataset has now'):
        use_feature_cache(again)


def test_features_of_another_block_are_refused(tmp_path):
    model = build_model(make_cfg(tmp_path))
    batch = dict(features=torch.zeros(2, 16, 4, 4), data_samples=[])
    with pytest.raises(UserError, match=r'of shape \(16, 4, 4\), .* starts with .* \(8, 8, 8\)'):
        model.first_input(batch)
    model.trained_blocks = (0, 1)
    with pytest.raises(UserError, match='starts with images'):
        model.first_input(batch)


@DATASETS.register_module(force=True)
class Unreadable(BaseDataset):
    """1,281,167 images, which nobody may read."""

    METAINFO = dict(classes=tuple('0123456789'))

    def __init__(self, **kwargs):
        super().__init__(ann_file='', **kwargs)

    def known_length(self):
        return 1_281_167

    def load_data_list(self):
        raise AssertionError('read')


def test_bytes_are_known_before_they_are_written(tmp_path, monkeypatch):
    cifar = cache_bytes((16, 32, 32), 50_000)
    assert cifar == 50_000 * (16 * 32 * 32 * 4 + 8) and f'{cifar / 2**30:.2f}' == '3.05'
    assert cache_bytes((16, 32, 32), 50_000, 4, 'float16', (3, 32, 32)) == 4 * 50_000 * 35_848
    assert f'{cache_bytes((256, 56, 56), 1_281_167) / 1e12:.1f}' == '4.1'
    cfg = make_cfg(tmp_path, **{'model.aux_head': MAN})
    use_feature_cache(cfg, views=2)
    written = sum(path.stat().st_size for path in cfg_folder(cfg).rglob('*.bin'))
    assert written == cache_bytes((8, 8, 8), 24, 2, image_shape=(3, 8, 8))
    unread = dict(type='Unreadable', pipeline=[], _delete_=True)
    cfg = make_cfg(tmp_path, **{'train_dataloader.dataset': unread})
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(UserError, match=r'needs 2.45 GiB in .*, which has 1 GiB free: give'):
        use_feature_cache(cfg, tmp_path / 'none')
    assert not (tmp_path / 'none').exists()


@full
def test_imagenet_after_the_first_stage_is_refused_before_an_image_is_read(tmp_path, monkeypatch):
    keys = {
        'model.backbone': dict(type='ResNet', depth=50, _delete_=True),
        'model.splitter.ends': ['1.2', '4.2'],
        'model.input_shape': (3, 224, 224),
        'model.head.in_channels': 2048,
        'model.train_blocks': [1],
        'train_dataloader.dataset': dict(type='Unreadable', pipeline=[], _delete_=True),
    }
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: SimpleNamespace(free=4 * 10**12))
    with pytest.raises(UserError, match='needs 4.11 TB in .*, which has 4 TB free'):
        use_feature_cache(make_cfg(tmp_path, **keys))


@full
def test_a_resumed_training_draws_the_same_views(augmented, tmp_path):
    whole, part = copy.deepcopy(augmented), copy.deepcopy(augmented)
    whole.feature_cache = part.feature_cache = dict(folder=str(tmp_path / 'shared'), views=3)
    again = copy.deepcopy(part)
    whole.experiment_name, part.work_dir = 'whole', str(tmp_path / 'part')
    part.experiment_name, part.train_cfg.max_epochs = 'part', 1
    expected, losses, _ = trained(whole)
    trained(part)
    again.update(experiment_name='again', work_dir=part.work_dir, resume=True)
    again.load_from = str(tmp_path / 'part' / 'epoch_1.pth')
    found, found_losses, _ = trained(again)
    assert torch.equal(found_losses, losses[-len(found_losses) :])
    # Heads of blocks that rest start anew.
    changed = [name for name, value in expected.items() if not torch.equal(found[name], value)]
    assert all(name.startswith(('aux_heads.0.', 'aux_heads.2.')) for name in changed), changed


@full
def test_a_plain_checkpoint_gives_the_prefix_too(tmp_path):
    cfg = make_cfg(tmp_path)
    weights = torch.load(cfg.load_from)['state_dict']
    path = tmp_path / 'plain.pth'
    torch.save({k: v for k, v in weights.items() if not k.startswith('aux_heads.')}, path)
    cfg.update(load_from=None, pretrained=dict(checkpoint=str(path)))
    cached = copy.deepcopy(cfg)
    cached.update(experiment_name='plain', feature_cache=dict(views=1))
    expected, losses, _ = trained(cfg)
    found, found_losses, ran = trained(cached)
    assert 0 not in ran and torch.equal(found_losses, losses)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_later_block_goes_on_from_an_earlier_cache(tmp_path, monkeypatch):
    """Two views of 20 images in batches of 8: the bytes of a cache written from images."""
    crop = [dict(type='RandomCrop', crop_size=8, padding=2)]
    starts, whole = [], feature_writer.prefix_output

    def watched(model, x, context, start):
        starts.append(start)
        return whole(model, x, context, start)

    monkeypatch.setattr(feature_writer, 'prefix_output', watched)
    found = {}
    for folder, blocks in (('one', [[1], [3]]), ('other', [[3]])):
        for trained_blocks in blocks:
            cfg = make_cfg(tmp_path, 20, crop, **{'model.train_blocks': trained_blocks})
            use_feature_cache(cfg, tmp_path / folder, views=2)
        places = sorted((tmp_path / folder).glob('block2*/view?'))
        assert len(places) == 2
        found[folder] = [files(place) for place in places]
        assert starts == (2 * 3 * [0] + 2 * 3 * [1] if folder == 'one' else 2 * 3 * [0])
        starts.clear()
    assert found['one'] == found['other']
