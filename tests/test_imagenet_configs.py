"""Every ImageNet config: what is in it, and training steps at their true sizes on fake tensors.

Methods and networks are covered pairwise by the steps: every network with every K once.
Some are run with real arithmetic, at a quarter of the side, in test_configs.py.
"""

from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.structures import DataSample
from torch._subclasses.fake_tensor import FakeTensor

from mman.apis.models import build_local_model
from mman.models.splitters.presets import PRESETS
from mman.utils.fake_copy import fake_copy
from tests.helpers.config_files import IMAGENET_RESNETS, arch_name, config_id
from tests.helpers.settings import in_tiers
from tests.helpers.stand_in_runner import make_runner, step

every_resnet = pytest.mark.parametrize('path', IMAGENET_RESNETS, ids=config_id)
METHODS = ('man', 'manpp', 'infopro', 'dgl')

# network -> parameters of backbone and head, as torchvision documents them
PARAMETERS = {
    'resnet18': 11_689_512,
    'resnet34': 21_797_672,
    'resnet50': 25_557_032,
    'resnet101': 44_549_160,
    'resnet152': 60_192_808,
    'resnext101-32x8d': 88_791_336,
}
# (network, K) -> ends; published for the networks of 50 layers and more
ENDS = {
    ('resnet18', 2): '2.0 4.1',
    ('resnet18', 4): '1.1 2.1 3.1 4.1',
    ('resnet34', 2): '2.0 4.2',
    ('resnet34', 4): '1.2 2.3 3.5 4.2',
    ('resnet50', 2): '2.0 4.2',
    ('resnet50', 4): '1.2 2.3 3.5 4.2',
    ('resnet101', 2): '2.0 4.2',
    ('resnet101', 4): '2.2 3.8 3.16 4.2',
    ('resnet152', 2): '2.5 4.2',
    ('resnet152', 4): '2.6 3.13 3.25 4.2',
    ('resnext101-32x8d', 2): '2.0 4.2',
    ('resnext101-32x8d', 4): '2.2 3.8 3.16 4.2',
}


# vision transformer -> parameters, as timm documents them
VIT_PARAMETERS = {'vit-tiny': 5_717_416, 'vit-small': 22_050_664, 'vit-base': 86_567_656}


def _ends(path):
    """What the name of a config promises: K, and the ends where K > 1."""
    arch, *middle, _ = path.stem.split('_')
    if not middle:
        return 1, None
    if path == OTHER_SPLIT:
        # InfoPro cuts this network elsewhere than MAN does.
        return 2, ['2.2', '4.2']
    num_blocks = int(middle[0].removeprefix('k'))
    return num_blocks, ENDS[arch, num_blocks].split()


STEMS = sorted({path.stem for path in IMAGENET_RESNETS if path.parts[1] != 'bp'})
OTHER_SPLIT = Path('configs/infopro/resnext101-32x8d_k2_imagenet.py')


def _tried(path):
    """The config of a network and its K whose step is tried, of the methods in turn."""
    if path == OTHER_SPLIT:
        return path
    method = METHODS[(STEMS.index(path.stem) + 1) % len(METHODS)]
    return Path('configs', method, path.name)


FAST = ('manpp/vit-tiny_k4', 'manpp/resnet18_k2', 'infopro/resnet18_k4', 'dgl/resnet34_k2')
FAST = [Path('configs', f'{name}_imagenet.py') for name in (*FAST, 'man/resnet34_k4')]
FAST.append(Path('configs/bp/resnet18_imagenet.py'))
FULL = [Path('configs', f'{name}_imagenet.py') for name in ('bp/vit-tiny', 'manpp/vit-base_k4')]
FULL += sorted({_tried(path) for path in IMAGENET_RESNETS if path.parts[1] != 'bp'} - {*FAST})


def test_the_matrix_is_complete():
    found = {(path.parts[1], path.stem) for path in IMAGENET_RESNETS}
    expected = {('bp', f'{net}_imagenet') for net in PARAMETERS}
    expected |= {
        (method, f'{net}_k{k}_imagenet') for method in METHODS for net in PARAMETERS for k in (2, 4)
    }
    assert found == expected and len(found) == 54


@every_resnet
def test_recipe(path):
    """METHOD: total batch 1024 in four processes, cosine from 0.4, 90 epochs, 224 pixels."""
    cfg, method = Config.fromfile(path), path.parts[1]
    assert cfg.train_dataloader.batch_size == 256
    assert cfg.auto_scale_lr.base_batch_size == 1024
    assert cfg.optim_wrapper.optimizer == dict(
        type='SGD', lr=0.4, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    # Without T_max it ends where the training does.
    assert cfg.param_scheduler == dict(type='CosineAnnealingLR', by_epoch=True)
    assert cfg.train_cfg.max_epochs == 90
    assert cfg.model.input_shape == (3, 224, 224)
    assert cfg.model.backbone.zero_init_residual is False
    train, test = ([t['type'] for t in cfg[f'{name}_pipeline']] for name in ('train', 'test'))
    assert train == ['LoadImageFromFile', 'RandomResizedCrop', 'RandomFlip', 'PackInputs']
    assert test == ['LoadImageFromFile', 'ResizeEdge', 'CenterCrop', 'PackInputs']
    assert cfg.train_pipeline[1].scale == cfg.test_pipeline[2].crop_size == 224
    assert cfg.test_pipeline[1].scale == 256
    _check_method(path, cfg, method)
    # But for the head, and the splitter of one block, the model is one whose step is tried.
    other = {'aux_head'}
    if method == 'bp':
        assert cfg.model.splitter.num_blocks == 1
        other.add('splitter')
        path = path.with_stem(path.stem.replace('_', '_k2_'))
    tried = Config.fromfile(_tried(path)).model
    assert {k: v for k, v in cfg.model.items() if k not in other} == {
        k: v for k, v in tried.items() if k not in other
    }


def _check_method(path, cfg, method):
    """MAN adds, MAN++ scales; weights are 5 and 0.75, in InfoPro alone 1 for ResNet-152."""
    hooks = cfg.get('custom_hooks', [])
    if method in ('man', 'manpp'):
        assert cfg.model.aux_head.type == 'MomentumAuxHead'
        assert cfg.model.aux_head.mix == ('sum' if method == 'man' else 'scaled')
        assert hooks == [dict(type='MomentumUpdateHook', decay=0.995)]
    else:
        assert not hooks
    head = cfg.model.get('aux_head', {})
    host = head.get('host', head)
    host_of_man = dict(type='InfoProImageNetAuxHead', reconstruction_weight=5.0, task_weight=0.75)
    infopro = dict(host_of_man, task_weight=1.0 if '152' in path.stem else 0.75)
    hosts = dict(man=host_of_man, manpp=host_of_man, infopro=infopro, bp={})
    assert host == hosts.get(method, dict(type='DGLAuxHead', variant='dgl'))


@pytest.mark.parametrize('arch', in_tiers(VIT_PARAMETERS, ('vit-tiny',)))
def test_manpp_on_vision_transformers(arch):
    """METHOD: four blocks of three layers, two bias units, class token, norm and linear layer."""
    plain = Config.fromfile(f'configs/bp/{arch}_imagenet.py')
    model = build_local_model(plain)
    assert sum(p.numel() for p in model.parameters()) == VIT_PARAMETERS[arch]
    assert model.num_blocks == 1
    cfg = Config.fromfile(f'configs/manpp/{arch}_k4_imagenet.py')
    model = build_local_model(cfg)
    assert model.block_ends == ['1.2', '1.5', '1.8', '1.11']
    for head in model.aux_heads:
        assert head.scale is not None and head.num_sources == 2
        assert isinstance(head.host.norm, torch.nn.LayerNorm)
    for recipe in (plain, cfg):
        assert recipe.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-3, weight_decay=0.05)
        assert recipe.train_dataloader.batch_size == 128
        assert recipe.train_cfg.max_epochs == 90 and 'T_max' not in recipe.param_scheduler
        assert recipe.model.input_shape == (3, 224, 224)


def test_presets_say_which_splits_are_not_published():
    for depth in (18, 34):
        assert 'not published' in PRESETS[f'imagenet-resnet{depth}'][0]
    for name in ('resnet50', 'resnet101', 'resnet152', 'resnext101', 'resnext101-infopro'):
        source = PRESETS[f'imagenet-{name}'][0]
        assert 'not published' not in source and ('InfoPro' in source or 'MAN' in source)


@pytest.mark.parametrize(
    'path',
    [*FAST, *(pytest.param(path, marks=pytest.mark.full) for path in FULL)],
    ids=config_id,
)
def test_one_training_step_at_true_size(path):
    """All blocks at 224 x 224 and the config's batch: losses, and a gradient for every weight."""
    cfg = Config.fromfile(path)
    model = build_local_model(cfg)
    if path in IMAGENET_RESNETS:
        _check_network(path, cfg, model)
    with fake_copy(model) as copied:
        wrapper = {k: v for k, v in cfg.optim_wrapper.items() if k not in ('type', 'constructor')}
        runner = make_runner(copied, **wrapper)
        batch = cfg.train_dataloader.batch_size
        images = torch.zeros(batch, 3, 224, 224, dtype=torch.uint8)
        samples = [DataSample().set_gt_label(0) for _ in range(batch)]
        trained = {name: p for name, p in copied.named_parameters() if p.requires_grad}
        gradients = _record_gradients(trained)
        log_vars = step(runner, dict(inputs=images, data_samples=samples))
        assert all(isinstance(value, FakeTensor) for value in log_vars.values())
        assert isinstance(copied.block_losses, FakeTensor)
        # Stacked, so the loss of each block is a scalar.
        assert copied.block_losses.shape == (model.num_blocks,)
        assert gradients == {name: p.shape for name, p in trained.items()}


def _check_network(path, cfg, model):
    """Network, classes and split are those of the name."""
    arch = path.stem.split('_')[0]
    assert arch_name(cfg.model.backbone) == arch
    parameters = [*model.backbone.parameters(), *model.head.parameters()]
    assert sum(p.numel() for p in parameters) == PARAMETERS[arch]
    num_blocks, ends = _ends(path)
    assert model.num_blocks == num_blocks and len(model.aux_heads) == num_blocks - 1
    if ends is not None:
        assert model.block_ends == ends
    wide = 64 if arch in ('resnet18', 'resnet34') else 256
    for units in model.block_units:
        stage = units[-1].stage - 1
        side = 56 >> stage
        assert units[-1].output_shape == (wide << stage, side, side)


def _record_gradients(parameters):
    """Shapes of the gradients, by name, filled in by the backward pass.

    The step itself leaves none behind.
    """
    shapes = {}

    def record(name, parameter):
        shapes[name] = parameter.grad.shape

    for name, parameter in parameters.items():
        parameter.register_post_accumulate_grad_hook(partial(record, name))
    return shapes
