"""Blocks that rest, against a loop written out in float64."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from mman.apis.memory_prediction import predict_memory
from mman.engine.hooks import MomentumUpdateHook
from mman.registry import MODELS
from mman.utils import UserError
from tests.helpers.float64 import assert_same, batches, double_model, train
from tests.helpers.settings import build_model, model_cfg, random_batch
from tests.helpers.stand_in_runner import SGD, make_runner, step

SHAPE = (3, 16, 16)
full = pytest.mark.full
WRAPPER = dict(type='BlockOptimWrapper', constructor='BlockOptimWrapperConstructor', optimizer=SGD)


def _cfg(train_blocks, method='greedy', **splitter):
    return dict(model_cfg(method, **splitter), train_blocks=train_blocks)


@pytest.mark.parametrize(
    'trained', [[0, 2], pytest.param([1], marks=full), pytest.param([1, 3], marks=full)], ids=str
)
def test_twelve_iterations_are_those_of_the_loop(trained):
    cfg = _cfg(trained)
    del cfg['data_preprocessor']
    model = double_model(cfg)
    other, data = copy.deepcopy(model), batches(SHAPE)
    parts = [[unit.within(other.backbone).module for unit in units] for units in other.block_units]
    heads = [*(head.fc for head in other.aux_heads), other.head.fc]
    learning = [p for k in trained for part in (*parts[k], heads[k]) for p in part.parameters()]
    for k, units in enumerate(parts):
        for unit in units:
            unit.train(k in trained)
    for p in other.parameters():
        p.requires_grad_(any(p is q for q in learning))
    sgd = torch.optim.SGD(learning, lr=0.05, momentum=0.9)
    expected = []
    for images, labels in data:
        x, losses = images, []
        for k in range(4):
            for unit in parts[k]:
                x = unit(x)
            if k in trained:
                losses.append(F.cross_entropy(heads[k](x.mean((2, 3))), labels))
            x = x.detach()
        sgd.zero_grad()
        sum(losses).backward()
        sgd.step()
        expected.append(torch.stack(losses).detach())
    before = copy.deepcopy(model.state_dict())
    found = train(model, data, dict(type='SGD', lr=0.05, momentum=0.9))
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=1e-9, atol=0)
    assert_same(dict(model.named_parameters()), dict(other.named_parameters()))
    # Whatever rests stays to the last bit, running statistics included.
    for k in set(range(4)) - set(trained):
        for name, value in model.local_blocks[k].state_dict().items():
            assert torch.equal(value, before[name]), name


def test_a_block_that_rests_keeps_no_graph_and_later_ones_do_not_run():
    model = build_model('greedy')
    resting = MODELS.build(_cfg([1])).train()
    resting.load_state_dict(model.state_dict())
    ran = []
    for k, block in enumerate(resting.local_blocks):
        block.layers[0].register_forward_hook(lambda m, i, y, k=k: ran.append((k, y.requires_grad)))
    runner = make_runner(resting)
    log = step(runner, random_batch())
    assert ran == [(0, False), (1, True)]
    assert list(runner.optim_wrapper.keys()) == ['block1']
    assert resting.block_losses.tolist() == [log['loss'].item()] == [log['local_loss_mean'].item()]
    cfg = Config(dict(model=_cfg([3]), optim_wrapper=WRAPPER))
    whole = Config(dict(model=_cfg(None), optim_wrapper=WRAPPER))
    one, all_of_them = predict_memory(cfg, 16), predict_memory(whole, 16)
    assert len(one.blocks) == 1 and one.ends == all_of_them.ends[-1:]
    assert one.peak < all_of_them.peak and one.flops < all_of_them.flops


@pytest.mark.parametrize('timing', ['post_step', 'pre_step'])
@pytest.mark.parametrize(('trained', 'moves'), [([0, 1], [True, False]), ([1, 2], [False, True])])
def test_momentum_heads_of_blocks_that_train_follow_their_sources(timing, trained, moves):
    """Three blocks, two heads; with [0, 1] the source of the second rests, so it stays."""
    cfg = _cfg(trained, 'man-greedy', num_blocks=3, strategy='uniform')
    cfg['aux_head']['momentum_init'] = 'random'
    torch.manual_seed(0)
    model = MODELS.build(cfg).train()
    model.init_weights()
    sources = [list(block.first_unit.parameters()) for block in model.local_blocks[1:]]
    averages = [list(head.momentum_unit.parameters()) for head in model.aux_heads]
    kept = [[p.detach().clone() for p in group] for group in averages]
    before = [[p.detach().clone() for p in group] for group in sources]
    step(make_runner(model, [MomentumUpdateHook(0.9, timing)]), random_batch())
    for k in range(2):
        # A head that was not started says -1.
        assert model.aux_heads[k].num_updates == (int(moves[k]) if k in trained else -1)
        now = before[k] if timing == 'pre_step' else sources[k]
        for found, old, source in zip(averages[k], kept[k], now, strict=True):
            expected = 0.9 * old + 0.1 * source if moves[k] else old
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('value', [[], [4], [-1], [1, 1], 2, ['0'], [True]], ids=str)
def test_what_is_no_list_of_blocks_is_refused(value):
    with pytest.raises(UserError, match='model.train_blocks=.* should be None or a list of one or'):
        MODELS.build(_cfg(value))


def test_an_optimizer_of_a_block_that_rests_is_refused():
    model = MODELS.build(_cfg([0])).train()
    message = r'optim_wrapper.blocks has the key 2, but that block rests: .* is \[0\]'
    with pytest.raises(UserError, match=message):
        make_runner(model, blocks={2: dict(optimizer=dict(lr=0.1))})


def test_blocks_that_rest_in_train_mode_normalise_by_the_batch():
    """The statistics of block 0 move; its parameters stay."""
    torch.manual_seed(0)
    model = MODELS.build(dict(_cfg([1]), resting_mode='train')).train()
    model.init_weights()
    other, data = copy.deepcopy(model), random_batch()
    norms = [m for m in model.local_blocks[0].modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and all(norm.training for norm in norms)
    step(make_runner(model), data)
    x, _ = other.first_input(copy.deepcopy(data))
    with torch.no_grad():
        for layer in other.local_blocks[0].layers:
            x = layer.train()(x)
    for name, value in other.local_blocks[0].state_dict().items():
        assert torch.equal(model.local_blocks[0].state_dict()[name], value), name
    with pytest.raises(UserError, match="model.resting_mode='off' should be one of eval, train"):
        MODELS.build(dict(_cfg([1]), resting_mode='off'))


def test_classes_are_predicted_after_a_block():
    torch.manual_seed(0)
    model = MODELS.build(dict(_cfg(None), predict_at=1)).eval()
    data = random_batch()
    x = model.data_preprocessor(copy.deepcopy(data), False)['inputs']
    with torch.no_grad():
        for block in model.local_blocks[:2]:
            for layer in block.layers:
                x = layer(x)
        scores = model.aux_heads[1].fc(x.mean((2, 3)))
        found = model.test_step(data)
    assert [int(sample.pred_label) for sample in found] == scores.argmax(1).tolist()
    torch.testing.assert_close(torch.stack([s.pred_score for s in found]), scores.softmax(1))
    with pytest.raises(UserError, match='model.predict_at: block 7 is no early exit of this model'):
        MODELS.build(dict(_cfg(None), predict_at=7))
