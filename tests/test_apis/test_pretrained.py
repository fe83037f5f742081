"""Training that starts from the weights of a plain network."""

import copy
import hashlib
import itertools
import logging
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from safetensors.torch import save_file
from torchvision import models

from mman.apis import build_runner, start_from_pretrained, train_model
from mman.apis.pretrained import check_initialisation
from mman.registry import HOOKS, MODELS
from mman.utils import UserError
from mman.utils.checkpoint import load_from_local
from mman.utils.plain_weights import read_weights
from tests.helpers.cutting import GREEDY, MAN, POOL

RESNET20 = dict(type='CIFARResNet', depth=20, widths=(8, 8, 16, 32))
ENDS = ['1.1', '2.0', '2.2', '3.2']
VIT = dict(img_size=8, patch_size=2, embed_dim=24, depth=5, num_heads=2)

_numbers = itertools.count()


def plain_classifier(num_classes=10):
    """mmpretrain's own classifier, with weights unlike those of any start."""
    torch.manual_seed(7)
    plain = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=RESNET20,
            neck=POOL,
            head=dict(type='LinearClsHead', num_classes=num_classes, in_channels=32),
        )
    )
    return scramble(plain)


def scramble(model):
    """Other weights and statistics than a new model has."""
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand_like(value) / 10)
    return model.eval()


@HOOKS.register_module(force=True)
class FirstWeights(Hook):
    """The weights before the first step of the run that was started last."""

    priority = 'LOWEST'
    weights = None

    def before_train_iter(self, runner, *args, **kwargs):
        if FirstWeights.weights is None:
            FirstWeights.weights = copy.deepcopy(runner.model.state_dict())


def make_cfg(folder, pretrained=None, model=None, epochs=1, aux_head=MAN, ends=ENDS, **kwargs):
    """A run of two iterations an epoch on 8 x 8 digits."""
    name = f'pretrained-{next(_numbers)}'
    cfg = dict(
        model=dict(
            type='LocalImageClassifier',
            backbone=RESNET20,
            splitter=dict(type='LocalBlockSplitter', ends=ends),
            input_shape=(3, 8, 8),
            aux_head=aux_head,
            neck=POOL,
            head=dict(type='LinearClsHead', num_classes=10, in_channels=32),
            data_preprocessor=dict(mean=[78.0] * 3, std=[96.0] * 3),
        ),
        work_dir=str(folder / 'run'),
        experiment_name=name,
        default_scope='mman',
        train_dataloader=dict(
            batch_size=8,
            num_workers=0,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(type='Digits', indices=16, pipeline=[dict(type='PackInputs')]),
        ),
        optim_wrapper=dict(
            type='BlockOptimWrapper',
            constructor='BlockOptimWrapperConstructor',
            optimizer=dict(type='SGD', lr=0.01, momentum=0.9),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[dict(type='MomentumUpdateHook'), dict(type='CheckpointGuardHook')],
        visualizer=dict(
            type='UniversalVisualizer', name=name, vis_backends=[dict(type='LocalVisBackend')]
        ),
        randomness=dict(seed=0),
    )
    cfg['model'].update(model or {})
    if pretrained is not None:
        cfg['pretrained'] = pretrained
    return Config({**cfg, **kwargs})


def started(cfg):
    """The model's weights before the first step of a real run."""
    FirstWeights.weights = None
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type='FirstWeights')]
    train_model(cfg)
    return FirstWeights.weights


@pytest.fixture
def plain_file(tmp_path):
    """A checkpoint of mmpretrain's classifier, and its weights."""
    weights = plain_classifier().state_dict()
    path = tmp_path / 'plain.pth'
    torch.save(dict(meta=dict(epoch=3), state_dict=weights), path)
    return str(path), weights


@pytest.mark.parametrize(
    'cut',
    [
        dict(ends=['3.2'], aux_head=None),
        pytest.param(dict(ends=ENDS, aux_head=GREEDY), marks=pytest.mark.full),
        dict(ends=ENDS, aux_head=dict(MAN, mix='scaled', bias_units=2)),
    ],
    ids=['K=1', 'greedy', 'MAN++'],
)
def test_every_split_starts_from_a_plain_classifier(tmp_path, plain_file, cut):
    path, plain = plain_file
    found = started(make_cfg(tmp_path, dict(checkpoint=path), **cut))
    for name, value in plain.items():
        assert torch.equal(found[name], value), name
    rest = {name for name in found if name not in plain}
    assert all(name.startswith('aux_heads.') for name in rest)
    assert bool(rest) == (len(cut['ends']) > 1)
    if 'bias_units' in (cut['aux_head'] or {}):
        check_copies(found, plain)


def check_copies(found, plain):
    """Momentum and bias units have the loaded weights.

    Their names in the file, written out: the unit after each of the ends.
    """
    units = [('layer1.2', 'layer2.0'), ('layer2.1', 'layer2.2'), ('layer3.0', 'layer3.1')]
    for k, (first, second) in enumerate(units):
        copies = {'momentum_unit': first, 'bias_unit': first, 'later_bias_units.0': second}
        for copied, source in copies.items():
            names = ['conv1.weight', 'conv2.weight', 'bn1.weight', 'bn2.bias']
            for name in names:
                value = found[f'aux_heads.{k}.{copied}.{name}']
                assert torch.equal(value, plain[f'backbone.{source}.{name}']), (k, copied, name)


def test_training_goes_on_from_there_and_resumed_loads_nothing_again(tmp_path, plain_file):
    path, plain = plain_file
    train_model(make_cfg(tmp_path, dict(checkpoint=path)))
    saved = load_from_local(tmp_path / 'run' / 'epoch_1.pth')['state_dict']
    changes = [(saved[name] - plain[name]).abs().max() for name in plain if 'conv' in name]
    # Two steps at a rate of 0.01; a new start would differ by whole weights.
    assert 0 < max(changes) < 0.1
    # It does not even need the file.
    Path(path).unlink()
    for load_from in (None, str(tmp_path / 'run' / 'epoch_1.pth')):
        cfg = make_cfg(tmp_path, dict(checkpoint=path), epochs=2, resume=True, load_from=load_from)
        found = started(cfg)
        for name, value in saved.items():
            assert torch.equal(found[name], value), name
        (tmp_path / 'run' / 'last_checkpoint').write_text(str(tmp_path / 'run' / 'epoch_1.pth'))


def test_a_run_that_could_resume_but_has_not_begun_starts_from_the_file(tmp_path, plain_file):
    path, plain = plain_file
    found = started(make_cfg(tmp_path, dict(checkpoint=path), resume=True))
    assert torch.equal(found['backbone.conv1.weight'], plain['backbone.conv1.weight'])


def runner_log(cfg):
    """What starting writes into the log, and the model."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    runner = build_runner(cfg)
    runner.logger.addHandler(handler)
    start_from_pretrained(runner)
    runner._init_model_weights()
    before = copy.deepcopy(runner.model.head.state_dict())
    for hook in runner.hooks:
        if 'Pretrained' in type(hook).__name__:
            hook.before_train(runner)
    return lines, before, runner.model


@pytest.mark.parametrize(('classes', 'drop_head'), [(100, False), (10, True)])
def test_a_classifier_that_is_left_out_is_named(tmp_path, classes, drop_head):
    plain = plain_classifier(classes).state_dict()
    torch.save(plain, tmp_path / 'plain.pth')
    pretrained = dict(checkpoint=str(tmp_path / 'plain.pth'), drop_head=drop_head)
    lines, before, model = runner_log(make_cfg(tmp_path, pretrained))
    (line,) = [line for line in lines if 'is left out' in line]
    assert f'classifier of {classes} classes' in line and 'model has 10' in line
    assert line.endswith('head.fc.weight, head.fc.bias')
    # As it was initialised, and the backbone loaded all the same.
    assert torch.equal(model.head.fc.weight, before['fc.weight'])
    assert torch.equal(model.backbone.conv1.weight, plain['backbone.conv1.weight'])


def logits(model, images):
    with torch.no_grad():
        return model.eval()(images)


def source_cfg(folder, source, path, backbone, channels, neck=POOL, size=8, **kwargs):
    model = dict(
        backbone=backbone,
        splitter=dict(type='LocalBlockSplitter', num_blocks=3, strategy='uniform'),
        input_shape=(3, size, size),
        neck=neck,
        head=dict(type='LinearClsHead', num_classes=10, in_channels=channels),
    )
    return make_cfg(folder, dict(checkpoint=str(path), source=source, **kwargs), model)


def timm_backbone(model_name, **kwargs):
    return dict(type='TIMMBackbone', model_name=model_name, **kwargs)


def _timm_resnet():
    return timm.create_model('test_resnet', num_classes=10), timm_backbone('test_resnet'), 96, POOL


def _timm_vit():
    name = 'vit_tiny_patch16_224'
    model = timm.create_model(name, num_classes=10, **VIT)
    return model, timm_backbone(name, **VIT), 24, dict(type='TokenPooling')


def _torchvision(name, channels):
    model = models.get_model(name, weights=None, num_classes=10)
    return model, dict(type='TorchvisionBackbone', name=name), channels, POOL


def _mmpretrain_resnet():
    return models.resnet18(num_classes=10), dict(type='ResNet', depth=18), 512, POOL


LIBRARIES = {
    'timm-resnet': ('timm', _timm_resnet),
    'timm-vit': ('timm', _timm_vit),
    'torchvision-resnet': ('torchvision', lambda: _torchvision('resnet18', 512)),
    'torchvision-mmpretrain': ('torchvision', _mmpretrain_resnet),
    'torchvision-mobilenet': ('torchvision', lambda: _torchvision('mobilenet_v2', 1280)),
}


@pytest.mark.parametrize(
    'name',
    [
        *('timm-vit', 'torchvision-resnet', 'torchvision-mmpretrain'),
        pytest.param('timm-resnet', marks=pytest.mark.full),
        pytest.param('torchvision-mobilenet', marks=pytest.mark.full),
    ],
)
def test_a_checkpoint_of_another_library_gives_its_logits(tmp_path, name):
    source, make = LIBRARIES[name]
    plain, backbone, channels, neck = make()
    scramble(plain)
    torch.save(plain.state_dict(), tmp_path / 'plain.pth')
    cfg = source_cfg(tmp_path, source, tmp_path / 'plain.pth', backbone, channels, neck)
    lines, _, model = runner_log(cfg)
    assert not any('left out' in line for line in lines)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(logits(model, images), logits(plain, images))


def test_a_model_of_timm_is_trained_from_its_file_in_blocks_of_man(tmp_path):
    plain, backbone, channels, neck = _timm_vit()
    scramble(plain)
    torch.save(plain.state_dict(), tmp_path / 'plain.pth')
    found = started(source_cfg(tmp_path, 'timm', tmp_path / 'plain.pth', backbone, channels, neck))
    weights = plain.state_dict()
    assert torch.equal(found['backbone.timm_model.pos_embed'], weights['pos_embed'])
    # Three blocks: stem and two layers, two layers, one.
    momentum = found['aux_heads.0.momentum_unit.attn.qkv.weight']
    assert torch.equal(momentum, weights['blocks.2.attn.qkv.weight'])


def test_what_timm_resizes_is_said(tmp_path):
    plain = timm.create_model('vit_tiny_patch16_224', num_classes=10, **dict(VIT, img_size=16))
    torch.save(plain.state_dict(), tmp_path / 'plain.pth')
    backbone = timm_backbone('vit_tiny_patch16_224', **VIT)
    neck = dict(type='TokenPooling')
    cfg = source_cfg(tmp_path, 'timm', tmp_path / 'plain.pth', backbone, 24, neck)
    lines, _, _ = runner_log(cfg)
    assert any(line.endswith('pos_embed resized from (1, 65, 24) to (1, 17, 24)') for line in lines)


@pytest.mark.full
def test_the_first_files_of_densenet_are_read(tmp_path):
    """torchvision's own file has norm.1 where its model of today has norm1."""
    plain = models.densenet121(num_classes=10)
    old = {
        key.replace('norm1.', 'norm.1.').replace('conv2.', 'conv.2.'): value
        for key, value in plain.state_dict().items()
        if 'denselayer' in key
    }
    rest = {key: value for key, value in plain.state_dict().items() if 'denselayer' not in key}
    torch.save({**rest, **old}, tmp_path / 'plain.pth')
    backbone = dict(type='TorchvisionBackbone', name='densenet121')
    cfg = source_cfg(tmp_path, 'torchvision', tmp_path / 'plain.pth', backbone, 1024, size=32)
    _, _, model = runner_log(cfg)
    name = 'features.denseblock2.denselayer3.conv2.weight'
    assert torch.equal(model.backbone.get_parameter(name), plain.get_parameter(name))


def test_the_classifier_of_several_layers_has_to_be_dropped(tmp_path):
    plain, backbone, channels, _ = _torchvision('mobilenet_v3_small', 576)
    torch.save(plain.state_dict(), tmp_path / 'plain.pth')
    how = ('torchvision', tmp_path / 'plain.pth', backbone, channels)
    with pytest.raises(UserError, match=r'classifier\.0\.weight.* set pretrained\.drop_head=True'):
        start_from_pretrained(build_runner(source_cfg(tmp_path, *how)))
    _, _, model = runner_log(source_cfg(tmp_path, *how, drop_head=True))
    name = 'features.0.0.weight'
    assert torch.equal(model.backbone.get_parameter(name), plain.get_parameter(name))


def lack(weights):
    del weights['backbone.layer2.0.conv1.weight']


def extend(weights):
    weights['backbone.layer4.weight'] = torch.zeros(1)


def reshape(weights):
    weights['backbone.conv1.weight'] = torch.zeros(8, 3, 5, 5)


def behead(weights):
    del weights['head.fc.weight'], weights['head.fc.bias']


def rename(weights):
    for name in list(weights):
        weights[f'student.{name}'] = weights.pop(name)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lack, r'does not fit the model: it lacks backbone\.layer2\.0\.conv1\.weight\. Give'),
        (extend, r'does not fit the model: it has unknown backbone\.layer4\.weight\. Give'),
        (
            reshape,
            r'has misshapen backbone\.conv1\.weight \(8, 3, 5, 5\) instead of \(8, 3, 3, 3\)',
        ),
        (behead, r'holds no classifier: set pretrained\.drop_head=True'),
        (rename, r'holds no classifier'),
    ],
)
def test_what_does_not_fit_is_refused_before_training(tmp_path, plain_file, change, message):
    path, weights = plain_file
    weights = dict(weights)
    change(weights)
    torch.save(weights, path)
    # The Runner has built the model only.
    with pytest.raises(UserError, match=message):
        start_from_pretrained(build_runner(make_cfg(tmp_path, dict(checkpoint=path))))


def test_names_of_another_source_are_refused(tmp_path, plain_file):
    path, _ = plain_file
    cfg = make_cfg(tmp_path, dict(checkpoint=path, source='torchvision', drop_head=True))
    with pytest.raises(UserError, match=r'lacks backbone\.conv1\.weight.*; it has unknown .* more'):
        start_from_pretrained(build_runner(cfg))
    cfg = make_cfg(tmp_path, dict(checkpoint=path, source='timm'))
    with pytest.raises(UserError, match="source='timm' is for a TIMMBackbone, not for CIFARResNet"):
        start_from_pretrained(build_runner(cfg))


@pytest.mark.parametrize(
    ('pretrained', 'message'),
    [
        ('plain.pth', "pretrained='plain.pth' should be a dict"),
        (dict(source='timm'), 'pretrained lacks checkpoint'),
        (dict(checkpoint='x', prefix='a.'), "key 'prefix' .*: .* knows .*source, drop_head, entry"),
        (
            dict(checkpoint='x', source='keras'),
            "source='keras' of .* should be 'mmpretrain' or",
        ),
        (dict(checkpoint='x', drop_head='yes'), "drop_head='yes' of .* should be"),
        (dict(checkpoint=['x']), r"pretrained.checkpoint=\['x'\] of .* should be"),
        (dict(checkpoint='nowhere.pth'), "checkpoint='nowhere.pth' should be a local file"),
        (dict(checkpoint='https://host/x.pth'), 'should be a local file'),
    ],
)
def test_keys_that_are_wrong(tmp_path, pretrained, message):
    with pytest.raises(UserError, match=message):
        start_from_pretrained(build_runner(make_cfg(tmp_path, pretrained)))


def test_two_starts_are_refused(tmp_path, plain_file):
    path, _ = plain_file
    cfg = make_cfg(tmp_path, dict(checkpoint=path), load_from=path)
    with pytest.raises(UserError, match='pretrained and load_from=.* are both set'):
        start_from_pretrained(build_runner(cfg))


@pytest.mark.parametrize(
    ('changes', 'where'),
    [
        (dict(pretrained='x.pth'), r'model\.pretrained'),
        (dict(init_cfg=dict(type='Pretrained', checkpoint='x.pth')), r'model\.init_cfg'),
        (
            dict(
                backbone=dict(
                    RESNET20, init_cfg=[dict(type='mmengine.PretrainedInit', checkpoint='x.pth')]
                )
            ),
            r'model\.backbone\.init_cfg\[0\]',
        ),
    ],
)
def test_loading_what_fits_is_refused(tmp_path, changes, where):
    cfg = make_cfg(tmp_path, model=changes)
    with pytest.raises(UserError, match=f'{where} would skip in silence .* pretrained=dict'):
        train_model(cfg)
    del cfg.model['splitter']
    # mmpretrain's own classifiers are its own affair.
    check_initialisation(cfg)


def test_the_entry_of_a_file_with_several(tmp_path):
    one, other = dict(a=torch.zeros(1)), dict(a=torch.ones(1))
    path = str(tmp_path / 'x.pth')
    torch.save(dict(state_dict=one, state_dict_ema=other, epoch=3), path)
    with pytest.raises(UserError, match='has state_dict and state_dict_ema: choose by pretrained'):
        read_weights(path)
    assert read_weights(path, entry='state_dict_ema')['a'] == 1
    with pytest.raises(UserError, match="entry='model' should be one of .* state_dict, state_dict"):
        read_weights(path, entry='model')
    # mmengine's EMAHook saves the average as the weights.
    torch.save(dict(state_dict=other, ema_state_dict=one), path)
    assert read_weights(path)['a'] == 1


def test_prefixes_of_wrappers_are_dropped(tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.DataParallel(torch.nn.Linear(1, 1)))
    torch.save(dict(model=averaged.state_dict()), tmp_path / 'x.pth')
    assert list(read_weights(str(tmp_path / 'x.pth'))) == ['weight', 'bias']


def test_safetensors_are_read(tmp_path):
    path = str(tmp_path / 'x.safetensors')
    save_file(dict(a=torch.ones(2)), path)
    assert torch.equal(read_weights(path)['a'], torch.ones(2))
    Path(path).write_bytes(Path(path).read_bytes()[:-3])
    with pytest.raises(UserError, match=r'x\.safetensors.* cannot be read'):
        read_weights(path)


def test_the_checksum(tmp_path):
    path = tmp_path / 'x.pth'
    torch.save(dict(a=torch.ones(1)), path)
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_weights(str(path), sha256=right.upper())
    with pytest.raises(UserError, match=f"has sha256 {right}, not pretrained.sha256='00'"):
        read_weights(str(path), sha256='00')


class Evil:
    def __reduce__(self):
        return print, ('ran',)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([1, 2], 'should hold a dict of weights, but holds of type list'),
        (dict(a=1), "but 'a' in it is of type int"),
        (dict(state_dict=dict(), epoch=1), 'holds no weights'),
        (dict(state_dict=dict(a=torch.zeros(1)), args=Evil()), 'could run code .*Save its weights'),
    ],
)
def test_files_of_something_else_are_refused(tmp_path, capsys, content, message):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(UserError, match=message):
        read_weights(str(tmp_path / 'x.pth'))
    assert 'ran' not in capsys.readouterr().out


@pytest.mark.parametrize('content', [b'', b'no checkpoint', None])
def test_damaged_files_are_refused(tmp_path, content):
    path = tmp_path / 'x.pth'
    torch.save(dict(a=torch.zeros(1000)), path)
    path.write_bytes(path.read_bytes()[:-500] if content is None else content)
    with pytest.raises(UserError, match=r"checkpoint '.*x\.pth'"):
        read_weights(str(path))
