"""Memory format and compilation change how a model runs, not what it computes."""

import pytest
import torch
from torch._dynamo.utils import counters

from mman.engine.hooks import MomentumUpdateHook
from mman.registry import MODELS
from mman.utils import UserError
from tests.helpers.settings import ONE_WRAPPED, in_tiers, model_cfg, random_batch
from tests.helpers.stand_in_runner import make_runner, step

CHANNELS_LAST = dict(memory_format='channels_last')


def _trained(cfg, dtype=torch.float32, steps=1, extra=None):
    """A model after some steps, its weights drawn without the keys of ``extra``."""
    torch.manual_seed(0)
    plain = MODELS.build(cfg)
    plain.init_weights()
    model = MODELS.build({**cfg, **(extra or {})}).train()
    # Another memory format draws the same numbers in another order.
    model.load_state_dict(plain.state_dict())
    model.to(dtype)
    runner = make_runner(model, [MomentumUpdateHook()])
    for i in range(steps):
        data = random_batch(4, model.input_shape[1], seed=i)
        step(runner, dict(data, inputs=data['inputs'].to(dtype)))
    return model


@pytest.mark.parametrize('method', in_tiers(ONE_WRAPPED, ('man',)))
def test_channels_last_trains_the_same_up_to_rounding(method):
    ours = _trained(model_cfg(method), torch.float64, 2, CHANNELS_LAST)
    theirs = _trained(model_cfg(method), torch.float64, 2)
    for (name, p), q in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-9, msg=name)


def test_channels_last_reaches_weights_and_maps():
    model = _trained(model_cfg('man'), extra=CHANNELS_LAST)
    seen = []
    for block in model.local_blocks:
        block.register_forward_hook(lambda block, args, out: seen.append(out[0]))
    step(make_runner(model, [MomentumUpdateHook()]), random_batch(4))
    model.eval()
    seen.append(model.extract_feat(torch.zeros(2, 3, 16, 16), stage='backbone')[0])
    weights = [p for p in model.parameters() if p.ndim == 4]
    assert len(seen) == model.num_blocks + 1
    assert all(t.is_contiguous(memory_format=torch.channels_last) for t in seen + weights)
    assert not seen[0].is_contiguous()


def _graphs(depth, num_blocks):
    """How many were compiled in two steps, and the number of heads."""
    cfg = model_cfg('man-greedy', num_blocks=num_blocks, strategy='uniform')
    cfg['backbone']['depth'] = depth
    torch._dynamo.reset()
    counters.clear()
    model = _trained(cfg | dict(compile=dict(backend='eager')), steps=2)
    return counters['stats']['unique_graphs'], len(model.aux_heads)


@pytest.mark.full
def test_units_alike_share_one_graph():
    """Twice as many blocks of the same kinds need no further graphs."""
    few, heads = _graphs(depth=20, num_blocks=9)
    same, more_heads = _graphs(depth=32, num_blocks=15)
    assert more_heads > heads
    assert same == few < 3 * heads


@pytest.mark.full
def test_compiled_trains_the_same():
    cfg = model_cfg('manpp', recompute='all', num_blocks=2, strategy='uniform')
    torch._dynamo.reset()
    counters.clear()
    ours = _trained(cfg | dict(compile=dict(backend='aot_eager')))
    assert counters['stats']['unique_graphs'] > 3
    assert not counters['graph_break']
    theirs = _trained(cfg)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for (name, p), q in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        (dict(memory_format='nhwc'), "memory_format='nhwc' should be one of contiguous"),
        (dict(compile=True), 'compile=True should be a dict'),
        (dict(compile=dict(fast=1)), "model.compile has the unknown key 'fast'"),
    ],
)
def test_bad_keys_are_named(keys, message):
    with pytest.raises(UserError, match=message):
        MODELS.build(model_cfg('man') | keys)
