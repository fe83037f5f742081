"""Predictions of the cheap ways of backpropagation against iterations that are really run."""

import copy

import pytest
import torch
from mmengine.config import Config

from mman.analysis.baselines import BASELINES
from mman.apis.memory_prediction import measure_memory, predict_memory
from mman.registry import MODELS
from mman.utils.live_bytes import LiveBytes
from tests.helpers.settings import model_cfg, random_batch
from tests.helpers.stand_in_runner import SGD, make_runner, step

BATCH = 16
WRAPPER = dict(type='BlockOptimWrapper', constructor='BlockOptimWrapperConstructor', optimizer=SGD)
FAST = ('bp-accumulate4', 'bp-cpu-checkpoint')


def _run(cfg, size):
    """Peaks of device and host in a real step, counted apart from the code under test."""
    model = MODELS.build(copy.deepcopy(cfg.model)).train()
    wrapper = {k: v for k, v in cfg.optim_wrapper.items() if k != 'constructor'}
    runner, count = make_runner(model, **wrapper), wrapper.get('accumulative_counts', 1)
    data = random_batch(size, model.input_shape[1])
    data['inputs'] = data['inputs'].byte()
    for _ in range(count):
        step(runner, data)
    existing = [*model.state_dict().values(), data['inputs']]
    for block in runner.optim_wrapper.values():
        for state in block.optimizer.state.values():
            existing += [value for value in state.values() if isinstance(value, torch.Tensor)]
    with LiveBytes(existing) as live:
        for _ in range(count):
            step(runner, data)
    return live.peak, live.host_peak


@pytest.mark.parametrize(
    ('one', 'backbone'),
    [
        pytest.param(
            one,
            backbone,
            id=f'{one.name}-{backbone}',
            marks=[] if (one.name in FAST and backbone == 'cifar_resnet20') else pytest.mark.full,
        )
        for one in BASELINES
        # Another number of parts is the same code.
        if one.parts in (1, 4)
        for backbone in ('cifar_resnet20', 'vit')
    ],
)
def test_training_takes_what_is_predicted(one, backbone):
    plain = Config(dict(model=model_cfg('man', backbone), optim_wrapper=WRAPPER))
    before, cfg, size = plain.to_dict(), one.config(plain), BATCH // one.parts
    assert plain.to_dict() == before
    report = predict_memory(cfg, size)
    peak, host = _run(cfg, size)
    assert report.peak == pytest.approx(peak, rel=0.02)
    assert report.host == pytest.approx(host, rel=0.02)
    assert (host > 0) == one.save_on_cpu
    assert measure_memory(cfg, size, 'cpu') == pytest.approx(peak, rel=0.02)


def test_a_batch_in_parts_has_the_gradients_of_the_whole_where_nothing_looks_at_the_batch():
    """A vision transformer has no BatchNorm: two halves are the whole but for rounding."""
    (one,) = [one for one in BASELINES if one.name == 'bp-accumulate2']
    plain = Config(dict(model=model_cfg('man', 'vit'), optim_wrapper=WRAPPER))
    found = []
    for cfg, parts in ((BASELINES[0].config(plain), 1), (one.config(plain), 2)):
        torch.manual_seed(0)
        model = MODELS.build(copy.deepcopy(cfg.model)).train()
        counts = cfg.optim_wrapper.get('accumulative_counts', 1)
        runner, data = make_runner(model, accumulative_counts=counts), random_batch(8)
        for k in range(parts):
            part = slice(8 * k // parts, 8 * (k + 1) // parts)
            step(runner, {key: values[part] for key, values in data.items()})
        found.append(model.state_dict())
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-4, atol=1e-5, msg=name)
