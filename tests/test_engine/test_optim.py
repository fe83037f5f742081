import copy

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.optim.optimizer import optimizer_wrapper
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mman.engine.hooks import MomentumUpdateHook
from tests.helpers.hand_written import HandWritten
from tests.helpers.settings import build_model, random_batch
from tests.helpers.stand_in_runner import SGD, make_runner, step


def wrappers_of(model, optimizer=SGD, **cfg):
    """The per-block wrappers that mmengine builds from a config."""
    return build_optim_wrapper(
        model,
        dict(
            type='BlockOptimWrapper',
            constructor='BlockOptimWrapperConstructor',
            optimizer=dict(optimizer),
            **cfg,
        ),
    )


def groups_by_name(model, wrappers):
    """Parameter group of every parameter that is optimized, and its block, by name."""
    names = {id(p): name for name, p in model.named_parameters()}
    found = {}
    for block, wrapper in wrappers.items():
        for group in wrapper.optimizer.param_groups:
            for p in group['params']:
                assert names[id(p)] not in found
                found[names[id(p)]] = (block, group)
    return found


def block_of(name):
    """Block of a parameter of ResNet-20 cut after the stem and after every stage."""
    for prefix, index in [
        ('backbone.conv1', 0),
        ('backbone.bn1', 0),
        ('backbone.layer1', 1),
        ('backbone.layer2', 2),
        ('backbone.layer3', 3),
        ('head', 3),
    ]:
        if name.startswith(f'{prefix}.'):
            return f'block{index}'
    return f'block{name.split(".")[1]}'


def stages(method='manpp-greedy'):
    return build_model(method, ends=['stem', '1.2', '2.2', '3.2'])


@pytest.mark.parametrize('paramwise', [None, dict(norm_decay_mult=0.0)])
def test_blocks_partition_what_is_trainable(paramwise):
    model = stages()
    cfg = {} if paramwise is None else dict(paramwise_cfg=paramwise)
    wrappers = wrappers_of(model, **cfg)
    assert list(wrappers.optim_wrappers) == ['block0', 'block1', 'block2', 'block3']
    found = groups_by_name(model, wrappers)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert set(found) == trainable
    assert not any('momentum_unit' in name for name in found)
    assert {name: block for name, (block, _) in found.items()} == {
        name: block_of(name) for name in trainable
    }


def test_frozen_parameters_are_left_alone():
    model = stages('greedy')
    frozen = dict(model.named_parameters())['backbone.layer2.0.conv1.weight']
    frozen.requires_grad_(False)
    before = frozen.clone()
    wrappers = wrappers_of(model)
    assert 'backbone.layer2.0.conv1.weight' not in groups_by_name(model, wrappers)
    model.train_step(random_batch(), wrappers)
    assert torch.equal(frozen, before)


def test_a_block_with_nothing_to_train_is_refused():
    model = stages('greedy')
    for part in (model.backbone.layer2, model.aux_heads[2]):
        part.requires_grad_(False)
    with pytest.raises(ValueError, match='block2 has no trainable parameter'):
        wrappers_of(model)


def test_a_parameter_of_no_block_is_refused():
    model = stages('greedy')
    model.stray = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r'no block trains stray\.weight, stray\.bias'):
        wrappers_of(model)


def test_a_parameter_of_two_blocks_is_refused():
    model = stages('greedy')
    model.backbone.layer1[1].conv1.weight = model.backbone.layer1[0].conv1.weight
    model.backbone.layer2[1].bn1.weight = model.backbone.layer1[0].bn1.weight
    with pytest.raises(ValueError, match=r'bn1\.weight is in block1 and in block2'):
        wrappers_of(model)


def test_a_plain_classifier_is_refused():
    with pytest.raises(ValueError, match='needs a LocalImageClassifier, not Linear'):
        wrappers_of(nn.Linear(2, 2))


def test_paramwise_keys_are_the_classifiers_names():
    model = stages('greedy')
    keys = {
        'aux_heads.1.': dict(lr_mult=0.5),
        'backbone.layer2.0.': dict(lr_mult=0.1),
        'head.fc.bias': dict(decay_mult=0.0),
    }
    wrappers = wrappers_of(model, paramwise_cfg=dict(custom_keys=keys, norm_decay_mult=0.0))
    norms = {
        f'{path}.{name}'
        for path, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for name, _ in module.named_parameters()
    }
    for name, (_, group) in groups_by_name(model, wrappers).items():
        scale = 1.0
        if name.startswith('aux_heads.1.'):
            scale = 0.5
        elif name.startswith('backbone.layer2.0.'):
            scale = 0.1
        # A custom key of a norm layer comes before norm_decay_mult, as in mmengine.
        plain_norm = name in norms and scale == 1.0
        assert group['lr'] == pytest.approx(0.1 * scale), name
        no_decay = plain_norm or name == 'head.fc.bias'
        assert group['weight_decay'] == (0.0 if no_decay else 1e-4), name


@pytest.mark.parametrize('key', [1, '1'])
def test_blocks_may_override_anything(key):
    wrappers = wrappers_of(
        stages('greedy'),
        clip_grad=dict(max_norm=2.0),
        blocks={key: dict(optimizer=dict(lr=0.01, momentum=0.5), clip_grad=None)},
    )
    for index, (name, wrapper) in enumerate(wrappers.items()):
        own = name == 'block1'
        assert own == (index == 1)
        (group,) = wrapper.optimizer.param_groups
        assert (group['lr'], group['momentum']) == ((0.01, 0.5) if own else (0.1, 0.9))
        assert group['weight_decay'] == 1e-4 and group['nesterov']
        assert wrapper.clip_grad_kwargs == (None if own else dict(max_norm=2.0))


@pytest.mark.parametrize('key', [4, '4', -1])
def test_overriding_a_block_that_there_is_not(key):
    with pytest.raises(ValueError, match=f'the key {key}, but blocks are 0 to 3'):
        wrappers_of(stages('greedy'), blocks={key: dict(optimizer=dict(lr=0.01))})


def test_the_config_is_not_changed():
    cfg = dict(
        type='BlockOptimWrapper',
        constructor='BlockOptimWrapperConstructor',
        optimizer=dict(SGD),
        # mmengine pops the type, and all blocks after the first would clip by norm.
        clip_grad=dict(type='value', clip_value=0.5),
        blocks={2: dict(clip_grad=dict(clip_value=0.25))},
        paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=2.0)}),
    )
    before = copy.deepcopy(cfg)
    for _ in range(2):
        wrappers = build_optim_wrapper(stages('greedy'), cfg)
        assert cfg == before
    for name, wrapper in wrappers.items():
        assert wrapper.clip_func is torch.nn.utils.clip_grad_value_
        assert wrapper.clip_grad_kwargs == dict(clip_value=0.25 if name == 'block2' else 0.5)


def test_one_learning_rate_and_momentum_for_the_log():
    wrappers = wrappers_of(stages('greedy'), blocks={0: dict(optimizer=dict(lr=0.01))})
    assert wrappers.get_lr() == dict(lr=[0.1])
    assert wrappers.get_momentum() == dict(momentum=[0.9])


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        (lambda state: state.pop('block1'), r"lacks \['block1'\] and has \[\]"),
        (lambda state: state.update(block4=state['block3']), r"lacks \[\] and has \['block4'\]"),
    ],
)
def test_a_state_of_another_split_is_refused(change, named):
    state = wrappers_of(stages('greedy')).state_dict()
    change(state)
    wrappers = wrappers_of(stages('greedy'))
    before = copy.deepcopy(wrappers.state_dict())
    with pytest.raises(ValueError, match=named):
        wrappers.load_state_dict(state)
    assert wrappers.state_dict() == before


def test_a_state_is_restored():
    model = stages('greedy')
    wrappers = wrappers_of(model)
    for seed in range(2):
        model.train_step(random_batch(seed=seed), wrappers)
    other = copy.deepcopy(model)
    restored = wrappers_of(other)
    restored.load_state_dict(copy.deepcopy(wrappers.state_dict()))
    for m, w in ((model, wrappers), (other, restored)):
        m.train_step(random_batch(seed=2), w)
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def assert_same_weights(model, other):
    for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7, msg=name)


def test_a_trailing_accumulation_is_stepped():
    model = stages('greedy')
    hand = HandWritten(copy.deepcopy(model))
    start = copy.deepcopy(model.state_dict())
    runner = make_runner(model, max_iters=5, accumulative_counts=2)
    for i in range(5):
        previous = copy.deepcopy(model.state_dict())
        step(runner, random_batch(seed=i))
        # The last gradient is alone.
        hand.iteration(random_batch(seed=i), factor=1 if i == 4 else 2, do_step=i in (1, 3, 4))
        assert_same_weights(model, hand.model)
        for key in ('backbone.conv1.weight', 'head.fc.weight'):
            assert torch.equal(previous[key], model.state_dict()[key]) == (i in (0, 2))
    assert not torch.equal(start['head.fc.weight'], model.head.fc.weight)


def test_the_warning_about_batch_norm_comes_once(monkeypatch):
    messages = []
    monkeypatch.setattr(
        optimizer_wrapper, 'print_log', lambda message, **_: messages.append(message)
    )
    model = stages('greedy')
    wrappers_of(model, accumulative_counts=2).initialize_count_status(model, 0, 10)
    assert len(messages) == 1 and 'BatchNorm' in messages[0]


class Reads(TorchDispatchMode):
    """Counts how often a value is read back from a tensor."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('max_norm', [0.05, 1e6])
def test_each_block_is_clipped_by_itself(max_norm):
    model = stages('greedy')
    hand = HandWritten(copy.deepcopy(model), max_norm=max_norm)
    wrappers = wrappers_of(model, clip_grad=dict(max_norm=max_norm))
    for i in range(2):
        model.train_step(random_batch(seed=i), wrappers)
        norms = hand.iteration(random_batch(seed=i))
        assert_same_weights(model, hand.model)
        assert torch.allclose(wrappers.grad_norms(), torch.stack(norms), rtol=1e-5)
    assert all(norm > 0.05 for norm in norms)


def test_clipping_reads_nothing_back_and_logs_nothing():
    model = stages()
    runner = make_runner(model, [MomentumUpdateHook()], clip_grad=dict(max_norm=1.0))
    hub = MessageHub.get_current_instance()
    before = {name: len(series.data[0]) for name, series in hub.log_scalars.items()}
    with Reads() as reads:
        step(runner, random_batch())
    assert reads.count == 0
    assert {name: len(series.data[0]) for name, series in hub.log_scalars.items()} == before
    # The stock wrapper does read, so that the count is able to see it.
    layer = nn.Linear(2, 1)
    stock = OptimWrapper(torch.optim.SGD(layer.parameters(), 0.1), clip_grad=dict(max_norm=1.0))
    with Reads() as reads:
        stock.update_params(layer(torch.ones(1, 2)).sum())
    assert reads.count > 0


def test_grad_norms_without_clipping_by_norm():
    model = stages('greedy')
    for cfg in ({}, dict(clip_grad=dict(type='value', clip_value=0.1))):
        wrappers = wrappers_of(model, **cfg)
        model.train_step(random_batch(), wrappers)
        assert wrappers.grad_norms() is None


def test_a_block_that_does_not_clip_has_no_norm():
    model = stages('greedy')
    wrappers = wrappers_of(model, clip_grad=dict(max_norm=1.0), blocks={2: dict(clip_grad=None)})
    assert wrappers.grad_norms() is None
    model.train_step(random_batch(), wrappers)
    assert wrappers.grad_norms().isnan().tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ('keys', 'fused', 'foreach'),
    [
        (dict(), True, None),
        (dict(fused=False), False, None),
        (dict(foreach=True), None, True),
    ],
)
@pytest.mark.parametrize('kind', ['SGD', 'AdamW', torch.optim.SGD])
def test_steps_are_fused_unless_the_config_says_how(kind, keys, fused, foreach):
    cfg = dict(type=kind, lr=0.1, **keys)
    runner = make_runner(stages('greedy'), optimizer=cfg)
    for wrapper in runner.optim_wrapper.values():
        group = wrapper.optimizer.param_groups[0]
        assert (group['fused'], group['foreach']) == (fused, foreach)
    assert 'fused' not in cfg or 'fused' in keys


def test_an_optimizer_without_a_fused_step_is_built_as_it_is():
    runner = make_runner(stages('greedy'), optimizer=dict(type='RMSprop', lr=0.1))
    assert all('fused' not in w.optimizer.defaults for w in runner.optim_wrapper.values())
