"""Predicted bytes against the bytes of real runs, and the figures to be below."""

import copy
from functools import cache

import pytest
import torch
from mmengine.config import Config

from mman.apis.memory_prediction import measure_memory, predict_memory
from mman.engine.hooks import MomentumUpdateHook
from mman.registry import MODELS
from mman.utils import UserError
from mman.utils.live_bytes import LiveBytes
from tests.helpers.settings import image_size, model_cfg, random_batch
from tests.helpers.stand_in_runner import SGD, make_runner, step


def _cfg(*args, optimizer=SGD, wrapper=None, **kwargs):
    return Config(
        dict(
            model=model_cfg(*args, **kwargs),
            optim_wrapper=dict(
                type='BlockOptimWrapper',
                constructor='BlockOptimWrapperConstructor',
                optimizer=optimizer,
                **(wrapper or {}),
            ),
        )
    )


def _live_bytes(cfg, batch_size):
    """Peak of a real iteration, counted apart from the code under test."""
    model = MODELS.build(copy.deepcopy(cfg.model)).train()
    wrapper = {k: v for k, v in cfg.optim_wrapper.items() if k not in ('type', 'constructor')}
    runner = make_runner(model, [MomentumUpdateHook()], **wrapper)
    data = random_batch(batch_size, model.input_shape[1])
    data['inputs'] = data['inputs'].byte()
    for _ in range(wrapper.get('accumulative_counts', 1)):
        step(runner, data)
    existing = [*model.state_dict().values(), data['inputs']]
    for block in runner.optim_wrapper.values():
        for state in block.optimizer.state.values():
            existing += [value for value in state.values() if isinstance(value, torch.Tensor)]
    with LiveBytes(existing) as live:
        for _ in range(wrapper.get('accumulative_counts', 1)):
            step(runner, data)
    return live.peak


# Every head that can be a host, and every way of recomputing with maps and tokens. A momentum head
# is the same code around every host.
CASES = [
    ('infopro', 'cifar_resnet20', 'none'),
    ('greedy', 'vit', 'all'),
    ('dgl', 'cifar_resnet20', 'block'),
    ('predsim', 'vit', 'none'),
    ('auglocal', 'cifar_resnet20', 'all'),
    ('man', 'cifar_resnet20', 'none'),
    ('manpp', 'cifar_resnet20', 'block'),
    ('manpp-two-units', 'vit', 'all'),
]
MORE_CASES = [
    ('dgl-manpp', 'cifar_resnet20', 'none'),
    ('infopro-imagenet', 'cifar_resnet20', 'all'),
    ('infopro-contrast', 'cifar_resnet20', 'block'),
    ('infopro-conv-first', 'cifar_resnet20', 'none'),
    ('infopro', 'vit', 'all'),
    ('predsim', 'cifar_resnet20', 'all'),
    ('auglocal', 'vit', 'none'),
    ('man', 'cifar_resnet20', 'all'),
    ('man', 'vit', 'none'),
    ('manpp', 'vit', 'none'),
    ('man-predsim', 'cifar_resnet20', 'block'),
    *(('man', backbone, 'none') for backbone in ('resnet50', 'seresnet50', 'regnet', 'vgg13_bn')),
    *(('man', backbone, 'none') for backbone in ('mobilenet_v2', 'efficientnet', 'convnext')),
    *(('man', backbone, 'none') for backbone in ('densenet', 'swin')),
]


@pytest.mark.parametrize(
    ('method', 'backbone', 'recompute'),
    CASES + [pytest.param(*case, marks=pytest.mark.full) for case in MORE_CASES],
)
def test_training_takes_what_is_predicted(method, backbone, recompute):
    cfg = _cfg(method, backbone, image_size(backbone), recompute=recompute)
    assert predict_memory(cfg, 16).peak == pytest.approx(_live_bytes(cfg, 16), rel=0.02)


@pytest.mark.parametrize(
    'case',
    [
        dict(num_blocks=9, optimizer=dict(type='AdamW', lr=0.1)),
        dict(wrapper=dict(accumulative_counts=2)),
        dict(num_blocks=1, wrapper=dict(clip_grad=dict(max_norm=1.0))),
    ],
    ids=str,
)
def test_settings_take_what_is_predicted(case):
    cfg = _cfg('man', **case)
    assert predict_memory(cfg, 16).peak == pytest.approx(_live_bytes(cfg, 16), rel=0.02)


def test_measured_on_a_cpu_is_the_live_bytes():
    cfg = _cfg('man')
    assert measure_memory(cfg, 16, 'cpu') == pytest.approx(_live_bytes(cfg, 16), rel=0.02)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('recompute', ['none', 'all'])
def test_the_allocator_takes_what_is_predicted(recompute):
    cfg = _cfg('man', size=32, recompute=recompute)
    assert measure_memory(cfg, 256, 'cuda') == pytest.approx(predict_memory(cfg, 256).peak, rel=0.1)


def test_half_precision_is_predicted_without_a_gpu():
    amp = dict(wrapper=dict(type='BlockAmpOptimWrapper', dtype='float16', loss_scale='dynamic'))
    cfg = _cfg('man')
    cfg.optim_wrapper.update(amp['wrapper'])
    half = predict_memory(cfg, 64)
    full = predict_memory(_cfg('man'), 64)
    assert half.parameters == full.parameters
    assert half.peak < 0.9 * full.peak


def test_the_parts_add_up():
    report = predict_memory(_cfg('man'), 16)
    model = MODELS.build(model_cfg('man'))
    assert report.parameters == sum(4 * p.numel() for p in model.parameters())
    assert report.optimizer == sum(4 * p.numel() for p in model.parameters() if p.requires_grad)
    assert report.buffers == sum(b.nbytes for b in model.buffers())
    steady = report.parameters + report.optimizer + report.buffers
    for block in report.blocks:
        assert block.peak == steady + block.gradients + block.activations
    assert report.peak == max(block.peak for block in report.blocks)
    assert report.ends == tuple(model.block_ends)


def test_arithmetic_is_counted():
    """One linear head on a 1 x 1 map: what its products take, by hand."""
    cfg = _cfg('greedy', num_blocks=1)
    model = MODELS.build(copy.deepcopy(cfg.model))
    flops = 0
    shapes = {}
    for name, module in model.backbone.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda m, args, out, name=name: shapes.__setitem__(name, out.shape)
            )
    model.backbone(torch.zeros(4, 3, 16, 16))
    for name, module in model.backbone.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            forward = 2 * shapes[name].numel() * module.weight[0].numel()
            # The gradient of the images is not computed.
            flops += forward * (2 if name == 'conv1' else 3)
    flops += 3 * 2 * 4 * 32 * 10
    assert predict_memory(cfg, 4).flops == flops


def test_nothing_changes_in_what_is_predicted():
    cfg = _cfg('man')
    before = cfg.to_dict()
    predict_memory(cfg, 4)
    assert cfg.to_dict() == before


def test_a_model_that_is_not_local_is_refused():
    cfg = _cfg('man')
    del cfg.model['splitter']
    with pytest.raises(UserError, match=r'has no model.splitter'):
        predict_memory(cfg, 4)


@cache
def _peak(path, *keys):
    """Predicted at batch 128, with some keys of the model changed."""
    cfg = Config.fromfile(f'configs/man/{path}.py')
    cfg.merge_from_dict({f'model.{key}': value for key, value in keys})
    return predict_memory(cfg, 128).peak


BP = ('splitter.num_blocks', 1)
ALL = ('recompute', 'all')
MEMORY = ('splitter.strategy', 'memory')


@pytest.mark.parametrize(
    ('path', 'keys', 'limit'),
    [
        ('resnet32_k16_cifar10', [ALL], 0.32),
        *(
            pytest.param(*row, marks=pytest.mark.full)
            for row in [
                # The figure of the MAN release for this network is 0.21.
                ('resnet110_k55_cifar10', [], 0.22),
                ('resnet110_k55_cifar10', [ALL], 0.13),
                ('resnet101_k2_imagenet', [ALL], 0.25),
                ('resnet50_k4_imagenet', [MEMORY], 0.75),
            ]
        ),
    ],
)
def test_figures_to_be_below(path, keys, limit):
    """Peak over that of BP; where all is recomputed, also below BP that does."""
    assert _peak(path, *keys) <= limit * _peak(path, BP)
    if keys == [ALL]:
        assert _peak(path, ALL) < _peak(path, BP, ALL)
