"""What holds of every backbone that is cut, checked on one config."""

import copy

import torch
from torch import nn

from mman.engine.hooks import MomentumUpdateHook
from mman.models.splitters.adapters import find_adapter
from mman.registry import MODELS
from tests.helpers.settings import random_batch
from tests.helpers.stand_in_runner import make_runner, step

GREEDY = dict(type='LinearAuxHead')
MAN = dict(type='MomentumAuxHead', mix='sum', host=GREEDY)
POOL = dict(type='GlobalAveragePooling')


def classifier_cfg(backbone, size, channels, neck=POOL, **splitter):
    """A LocalImageClassifier trained by MAN; 4 uniform blocks unless told otherwise."""
    return dict(
        type='LocalImageClassifier',
        backbone=copy.deepcopy(backbone),
        splitter=dict(
            type='LocalBlockSplitter', **(splitter or dict(num_blocks=4, strategy='uniform'))
        ),
        input_shape=(3, size, size),
        aux_head=MAN,
        neck=neck,
        head=dict(type='LinearClsHead', num_classes=10, in_channels=channels),
        data_preprocessor=dict(mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7]),
    )


def build(cfg):
    """The model of a config, initialised, always with the same weights."""
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg))
    if hasattr(model, 'init_weights'):
        model.init_weights()
    return model


def check_units(backbone, size):
    """Units one after the other are the backbone, in both modes, and hold all there is once."""
    units = find_adapter(backbone)(backbone)
    for training in (True, False):
        one, other = copy.deepcopy(backbone), copy.deepcopy(backbone)
        one.train(training)
        other.train(training)
        images = torch.randn(3, 3, size, size)
        # Some drop paths or features.
        torch.manual_seed(1)
        (expected,) = other(images)
        torch.manual_seed(1)
        x = images
        for unit in units:
            x = unit.within(one).module_with_output(x)
        assert torch.equal(x, expected)
        # Running statistics moved alike: the same modules ran, each once.
        for key, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), key
    names = [
        path if isinstance(part, nn.Parameter) else f'{path}.{name}'
        for unit in units
        for path, part in unit.all_parts.items()
        for name, _ in ([('', part)] if isinstance(part, nn.Parameter) else part.named_parameters())
    ]
    assert sorted(names) == sorted(name for name, _ in backbone.named_parameters())
    assert len([p for unit in units for p in unit.parameters()]) == len(names)
    assert len({unit.name for unit in units}) == len(units)
    return units


def check_one_block_is_backpropagation(cfg):
    """Loss and gradients of K = 1 are those of mmpretrain's own classifier, bit for bit."""
    splitter = dict(type='LocalBlockSplitter', num_blocks=1)
    model = build(dict(cfg, splitter=splitter)).train()
    plain_cfg = {k: v for k, v in cfg.items() if k not in ('splitter', 'input_shape', 'aux_head')}
    plain = MODELS.build(dict(copy.deepcopy(plain_cfg), type='mmpretrain.ImageClassifier')).train()
    plain.load_state_dict(model.state_dict())
    data = random_batch(4, cfg['input_shape'][1])
    found = {}
    for name, p in model.named_parameters():
        p.register_post_accumulate_grad_hook(
            lambda p, name=name: found.__setitem__(name, p.grad.clone())
        )
    torch.manual_seed(2)
    step(make_runner(model), data)
    torch.manual_seed(2)
    data = plain.data_preprocessor(random_batch(4, cfg['input_shape'][1]), True)
    loss = plain(data['inputs'], data['data_samples'], mode='loss')['loss']
    loss.backward()
    assert torch.equal(loss, model.block_losses[0])
    expected = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name


def check_logits_however_cut(cfg, counts):
    """The blocks in a row give the logits of the uncut network, for every K."""
    size = cfg['input_shape'][1]
    whole = build(dict(cfg, splitter=dict(type='LocalBlockSplitter', num_blocks=1))).eval()
    images = torch.randn(2, 3, size, size)
    expected = whole(images)
    for count in counts:
        splitter = dict(type='LocalBlockSplitter', num_blocks=count, strategy='uniform', stem='own')
        model = build(dict(cfg, splitter=splitter, aux_head=GREEDY)).eval()
        lacking, unknown = model.load_state_dict(whole.state_dict(), strict=False)
        assert not unknown and all(key.startswith('aux_heads.') for key in lacking)
        x = images
        for block in model.local_blocks:
            for layer in block.layers:
                x = layer(x)
        features = model.neck((x,)) if model.with_neck else (x,)
        assert torch.equal(model.head(features), expected), count
        assert torch.equal(model(images), expected), count


def check_two_steps(cfg):
    """Two steps of MAN change every block, keep momentum units apart and give finite losses."""
    model = build(cfg).train()
    runner = make_runner(model, [MomentumUpdateHook()])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for seed in range(2):
        step(runner, random_batch(4, cfg['input_shape'][1], seed=seed))
    assert len(model.block_losses) == model.num_blocks
    assert model.block_losses.isfinite().all()
    for k, block in enumerate(model.local_blocks):
        changed = [not torch.equal(p, before[name]) for name, p in block.named_parameters()]
        assert any(changed), k
    return model


def check_network(backbone, size, neck, channels, stages):
    """All of the above; ``stages`` are the numbers of units after the stem."""
    units = check_units(build(backbone), size)
    numbers = [f'{s}.{u}' for s, count in enumerate(stages, start=1) for u in range(count)]
    assert [unit.name for unit in units] == ['stem', *numbers]
    cfg = classifier_cfg(backbone, size, channels, neck)
    check_one_block_is_backpropagation(cfg)
    check_logits_however_cut(cfg, (2, len(units)))
    check_two_steps(cfg)
