"""What a pipeline is planned to do: checked by hand and against what is sent."""

import csv
from dataclasses import replace
from itertools import combinations

import pytest
from mmengine.config import Config

from mman.analysis import pipeline_plan
from mman.analysis.pipeline_plan import Assumptions, pipeline_text, plan_pipeline, verdict
from mman.engine.pipeline.partition import spans
from mman.engine.pipeline.survey import survey_blocks
from tests.helpers.run_tool import call_tool
from tests.helpers.settings import build_model, model_cfg

BATCH = 8


def config(method='man'):
    optimizer = dict(type='SGD', lr=0.1, momentum=0.9)
    constructor = 'BlockOptimWrapperConstructor'
    wrapper = dict(type='BlockOptimWrapper', constructor=constructor, optimizer=optimizer)
    return Config(dict(model=model_cfg(method), optim_wrapper=wrapper))


@pytest.fixture(scope='module')
def plan():
    return plan_pipeline(config(), stages=3, batch_size=BATCH)


def test_the_largest_stage_is_as_small_as_can_be(plan):
    flops = [BATCH * survey.flops for survey in survey_blocks(build_model('man'))]
    assert [stage.flops for stage in plan.stages] == [
        sum(flops[k] for k in stage.blocks) for stage in plan.stages
    ]
    least = min(
        max(sum(flops[k] for k in span) for span in spans(cuts, 4))
        for cuts in combinations(range(1, 4), 2)
    )
    assert max(stage.flops for stage in plan.stages) == least


def test_bytes_by_hand():
    """MAN on a ResNet-20 of 8, 8, 16 and 32 channels, 16 x 16 images, a cut after block 1."""
    plan = plan_pipeline(config(), stages=2, batch_size=BATCH)
    (cut,) = [stage.blocks.start for stage in plan.stages[1:]]
    (model, first, second) = (build_model('man'), *plan.stages)
    shape = model.block_units[cut - 1][-1].final_shape
    features = 4 * BATCH * shape[0] * shape[1] * shape[2]
    # Labels; pixels for the heads of InfoPro, unless the last block alone follows; four losses
    # and norms in float64; a header.
    images = BATCH * 3 * 16 * 16 if cut < 3 else 0
    assert first.sent_on == features + 64 + images + 4 * 16 + 16
    weights = list(model.block_units[cut][0].module.parameters())
    assert second.sent_back == 16 + sum(-(-4 * p.numel() // 64) * 64 for p in weights)
    assert first.received == second.sent_back and second.received == first.sent_on
    assert not first.sent_back and not second.sent_on


def test_period_by_hand(plan, monkeypatch):
    """Times by arithmetic alone: the slowest stage, or the way around a cut."""
    fast_links = Assumptions(tflops=1e-3, launch_us=1e-9, gbits=1e9)
    plan = plan_pipeline(config(), 3, batch_size=BATCH, assumptions=fast_links)
    slowest = max(stage.flops for stage in plan.stages) / 1e9
    assert plan.period == pytest.approx(slowest)
    assert plan.one_process == pytest.approx(sum(stage.flops for stage in plan.stages) / 1e9)
    assert plan.per_block_ddp == pytest.approx(plan.one_process / 3)
    slow_links = replace(fast_links, gbits=1e-6)
    plan = plan_pipeline(config(), 3, batch_size=BATCH, assumptions=slow_links)
    assert plan.period == pytest.approx(8 * max(s.sent_on for s in plan.stages) / 1e3, rel=1e-3)


def test_it_says_whether_it_pays(plan):
    pays = replace(plan, period=1.0, per_block_ddp=3.0, bp_ddp=2.0)
    assert verdict(pays) == 'The pipeline pays: 2.00 x faster than the next best of these.'
    loses = replace(plan, period=4.0, per_block_ddp=3.0, bp_ddp=2.0)
    assert 'does not pay: backpropagation under DDP is 2.00 x faster' in verdict(loses)
    assert verdict(plan) in pipeline_text(plan)


def test_memory_is_at_least_the_weights_and_less_than_one_process(plan):
    weights = sum(4 * p.numel() for p in build_model('man').parameters())
    for stage in plan.stages:
        assert stage.memory > weights


def test_what_cannot_be_planned():
    with pytest.raises(ValueError, match='--stages 5 should be from 1 to 4'):
        plan_pipeline(config(), stages=5, batch_size=BATCH)
    with pytest.raises(ValueError, match='batch_size=None should be an integer from 2 on.*--batch'):
        plan_pipeline(config(), stages=2)
    cfg = config('greedy')
    cfg.model.head.update(type='StackedLinearClsHead', mid_channels=[16], dropout_rate=0.5)
    with pytest.raises(ValueError, match='draws random numbers'):
        plan_pipeline(cfg, stages=2, batch_size=BATCH)


def test_the_tool_prints_and_writes(tmp_path):
    table = tmp_path / 'plan.csv'
    arguments = ['configs/man/resnet20_k10_digits.py', '--stages', 4, '--csv', table]
    result = call_tool('analysis_tools/plan_pipeline.py', *arguments)
    assert result.returncode == 0, result.stderr
    assert 'The pipeline ' in result.stdout and 'Assumed: 15 TFLOP/s' in result.stdout
    rows = list(csv.DictReader(table.open()))
    assert [int(row['stage']) for row in rows] == [0, 1, 2, 3]
    assert int(rows[-1]['last_block']) == 9
    assert pipeline_plan._padded(1) == 64
