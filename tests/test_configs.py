"""Every config reads; every base and every model of them runs on shrunk data."""

import json
import re
from functools import cache

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.evaluator import Evaluator

from mman.datasets import InMemoryDataset
from mman.registry import HOOKS, METRICS, MODELS, TRANSFORMS
from tests.helpers.config_files import IMAGENET_RESNETS, PATHS, arch_name, config_id
from tests.helpers.pictures import Pictures
from tests.helpers.stand_in_runner import make_runner, step

METHODS = ('man', 'manpp', 'dgl', 'infopro', 'greedy', 'predsim', 'auglocal', 'bp')
SETS = ('cifar10', 'svhn', 'stl10')
# host -> networks that it has configs for, where they are not the usual ones
NETS = {
    'predsim': ('resnet32_k16', 'resnet110_k55'),
    # Every unit a block but the last six.
    'auglocal': ('resnet32_k11', 'resnet110_k50'),
}


def _size(path):
    """Small networks of few blocks come first, of the same ones that on CIFAR-10."""
    numbers = [int(number) for number in re.findall(r'\d+', path.stem)][:2]
    return bool(re.search('small|base', path.stem)), numbers, 'cifar10' not in path.stem, path


def _runs():
    """One config of each model, whatever the data; those of the fast tier have every base.

    The other ResNets on ImageNet would take minutes: test_imagenet_configs.py takes them through a
    step without arithmetic. ResNet-110 in 32 or 33 blocks is that in 54 or 55, cut in fewer places.
    """
    bases, models = set(), set()
    for path in sorted(PATHS, key=_size):
        own, model = (
            set(_BASE.findall(path.read_text())),
            (path.parts[1], *path.stem.split('_')[:-1]),
        )
        fast = not own <= bases
        left_out = path in IMAGENET_RESNETS or re.match('resnet110_k3[23]', path.stem)
        if fast or model not in models and not left_out:
            yield pytest.param(path, id=config_id(path), marks=[] if fast else pytest.mark.full)
        bases |= own
        models.add(model)


_BASE = re.compile(r"'\.\./_base_/(.+?)'")
_read = cache(Config.fromfile)


def _names(method, variant='', sets=SETS):
    if method == 'bp':
        return {f'resnet{depth}_{data}' for depth in (32, 110) for data in sets}
    usual = ('resnet32_k8', 'resnet32_k16', 'resnet110_k32', 'resnet110_k55')
    nets = NETS.get(variant.removeprefix('-') or method, usual)
    return {f'{net}{variant}_{data}' for net in nets for data in sets}


@pytest.mark.parametrize('method', METHODS)
def test_the_matrix_is_complete(method):
    found = {path.stem for path in PATHS if path.parts[1] == method}
    expected = _names(method)
    if method in ('man', 'manpp'):
        expected |= _names(method, '-dgl')
        for host in ('-predsim', '-auglocal'):
            expected |= _names(method, host, ['cifar10'])
    if method == 'man':
        expected |= {
            f'{net}-release_{data}' for net in ('resnet32_k15', 'resnet110_k54') for data in SETS
        }
    if method == 'manpp':
        stem_own = ('resnet32_k9', 'resnet110_k33')
        nets = (*stem_own, *(f'{net}-dgl' for net in stem_own), 'resnet32_k16', 'resnet110_k55')
        expected |= {f'{net}-release_{data}' for net in nets for data in SETS}
    assert expected <= found


def _images(pipeline, channels, size, count=4):
    """Random pictures through a config's own pipeline, or from memory if it is empty."""
    if not pipeline.transforms:
        pictures = Pictures(count, (size, size, channels))
        (batch,) = InMemoryDataset(pictures).__getitems__(range(count))
        return batch
    rng = torch.Generator().manual_seed(0)
    samples = []
    for i in range(count):
        shape = (size, size, channels)
        image = torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8).numpy()
        samples.append(pipeline(dict(img=image, gt_label=i % 10, img_shape=(size, size))))
    return default_collate(samples)


def _shrunk(cfg):
    """The config for pictures of a quarter of the size, their channels and that size."""
    channels, side, _ = cfg.model.input_shape
    size = max(side // 4, 8)
    cfg.model.input_shape = (channels, size, size)
    if 'in_features' in cfg.model.backbone:
        cfg.model.backbone.in_features = channels * size * size
    sizes = dict(RandomCrop='crop_size', RandomResizedCrop='scale', CenterCrop='crop_size')
    for transform in [*cfg.train_pipeline, *cfg.test_pipeline]:
        if transform.type in sizes:
            transform[sizes[transform.type]] = size
    for name in ('train_pipeline', 'test_pipeline'):
        # The pictures are there already.
        cfg[name] = [t for t in cfg[name] if t.type not in ('LoadImageFromFile', 'ResizeEdge')]
    cfg.model.data_preprocessor = cfg.data_preprocessor
    return cfg, (channels, size)


@pytest.mark.parametrize('path', _runs())
def test_config_trains_and_validates(path):
    cfg, shape = _shrunk(Config.fromfile(path))
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    assert model.num_blocks == _blocks(path.stem)
    hooks = [HOOKS.build(hook) for hook in cfg.get('custom_hooks', [])]
    runner = make_runner(model, hooks, **_without_wrapper_keys(cfg.optim_wrapper))
    before = [p.detach().clone() for p in model.parameters() if p.requires_grad]

    train = Compose([TRANSFORMS.build(t) for t in cfg.train_pipeline])
    log_vars = step(runner, _images(train, *shape))
    assert all(torch.isfinite(value) for value in log_vars.values())
    assert torch.all(torch.isfinite(model.block_losses))
    assert len(model.block_losses) == model.num_blocks
    after = [p for p in model.parameters() if p.requires_grad]
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))

    model.eval()
    test = Compose([TRANSFORMS.build(t) for t in cfg.test_pipeline])
    predictions = model.val_step(_images(test, *shape))
    evaluator = Evaluator(METRICS.build(cfg.val_evaluator))
    evaluator.process(data_samples=predictions)
    assert 0 <= evaluator.evaluate(len(predictions))['accuracy/top1'] <= 100


def _without_wrapper_keys(cfg):
    return {k: v for k, v in cfg.items() if k not in ('type', 'constructor')}


def _blocks(stem):
    found = re.search(r'_k(\d+)', stem)
    return int(found[1]) if found else 1


def test_the_name_says_what_is_inside():
    """{arch}_k{K}[-{variant}]_{dataset}[-{size}px]"""
    for path in PATHS:
        cfg = _read(path)
        assert path.stem.split('_')[0] == arch_name(cfg.model.backbone), path
        data = dict(ImageFolder='folder').get(cfg.dataset_type, cfg.dataset_type.lower())
        assert path.stem.split('_')[-1].removesuffix('-16px') == data, path
        assert cfg.model.splitter.num_blocks == _blocks(path.stem), path


def test_release_weights_are_those_of_the_reference_vectors():
    """The effective weights that were measured on the release, K=16."""
    with np.load('tests/data/golden/resnet32_k16_2c2f_ce.npz') as archive:
        expected = json.loads(str(archive['meta']))['loss_weights']
    cfg = Config.fromfile('configs/man/resnet32_k15-release_cifar10.py')
    host = cfg.model.aux_head.host
    found = list(zip(host.reconstruction_weight, host.task_weight, strict=True))
    np.testing.assert_allclose(found, expected)
    hook = cfg.custom_hooks[0]
    assert hook.timing == 'pre_step' and hook.decay == 0.995


def test_recipes():
    """METHOD: batch, learning rate and epochs of every data set."""
    for path in PATHS:
        cfg = _read(path)
        if path.stem.endswith(('digits', 'imagenet', 'folder', 'fashionmnist', '16px')):
            continue
        stl = 'stl10' in path.stem
        assert cfg.train_dataloader.batch_size == (128 if stl else 1024)
        assert cfg.auto_scale_lr.base_batch_size == (128 if stl else 1024)
        assert cfg.optim_wrapper.optimizer == dict(
            type='SGD',
            lr=0.1 if stl else 0.8,
            momentum=0.9,
            nesterov=True,
            weight_decay=1e-4,
        )
        assert cfg.train_cfg.max_epochs == (160 if path.parts[1] == 'infopro' else 400)
        assert cfg.param_scheduler == dict(type='RampCosineLR', ramp_epochs=10, ramp_start=0.01)
        assert cfg.model.input_shape == ((3, 96, 96) if stl else (3, 32, 32))
