"""A pipeline of stages trains as one process, to the bit."""

import json

import pytest
import torch

from mman.analysis.pipeline_plan import traffic
from mman.engine.pipeline.partition import balanced_cuts, spans
from mman.engine.pipeline.survey import survey_blocks
from mman.engine.wrappers import LocalPipelineParallel
from mman.registry import MODELS
from tests.helpers import pipeline_cases as trainings
from tests.helpers import pipeline_exact
from tests.helpers.settings import build_model, model_cfg

pytestmark = pytest.mark.dist

REST = [name for name in trainings.CASES if name not in {*trainings.FEW, *trainings.BEFORE}]
# In turn with two, three or four stages, of one block each then; pipeline_exact.py run as a
# module has every one with all of them, and both timings of every average.
PLAN = {2: REST[0::3], 3: [*REST[1::3], *trainings.FEW], 4: [*REST[2::3], *trainings.FEW]}


def test_all_is_that_of_one_process(tmp_path):
    """Weights, averages, optimizers, random numbers, logs: all that a checkpoint holds."""
    _assert_equal(tmp_path, {2: trainings.FEW}, iterations=7)
    # What is compared can differ: MAN's average after the step, and before it.
    different = trainings.compare(tmp_path / '1' / 'man', tmp_path / '2' / 'man-pre-step')
    assert any('momentum_unit' in path for path in different)
    assert any('/optimizer/block2' in path for path in different)


@pytest.mark.full
def test_every_row_is_that_of_one_process(tmp_path):
    _assert_equal(tmp_path, PLAN, iterations=7)


def _assert_equal(folder, plan, iterations):
    trainings.train_all(folder, plan, iterations)
    for stages, names in plan.items():
        for name in names:
            different = trainings.compare(folder / '1' / name, folder / str(stages) / name)
            assert not different, (name, stages, different)
            if name in trainings.FEW:
                _assert_bytes(name, folder / str(stages) / name, stages, iterations)


def _assert_bytes(name, folder, stages, steps):
    """What was sent is what is planned, and the features once more at the end."""
    method, special = trainings.CASES[name]
    cfg = trainings.config(method, folder, **special)
    model = MODELS.build(cfg.model)
    surveys = survey_blocks(model)
    layout = spans(balanced_cuts([survey.flops for survey in surveys], stages), len(surveys))
    for stage, span in enumerate(layout[:-1]):
        on, back = traffic(model, surveys, span.stop - 1, trainings.BATCH)
        (sent,), (answered,) = (
            [json.loads((folder / f'sent-{s}-0.json').read_text())[way]]
            for s, way in ((stage, 'on'), (stage + 1, 'back'))
        )
        features = sent['features'] // (steps + 1)
        assert sum(sent.values()) == steps * on + features
        if answered['weights']:
            # Weights go back when there was a step.
            count = cfg.optim_wrapper.get('accumulative_counts', 1)
            count = (
                cfg.optim_wrapper.get('blocks', {})
                .get(span.stop, {})
                .get('accumulative_counts', count)
            )
            taken = len({*range(count, steps + 1, count), steps})
            assert answered['credit'] == steps * 16
            assert answered['weights'] == taken * (back - 16)
        else:
            assert sum(answered.values()) == steps * back


@pytest.mark.full
def test_replicas_and_one_block(tmp_path):
    """Replicas of stages are per-block DDP, and K = 1 in one stage is backpropagation."""
    pipeline_exact.train_others(tmp_path, iterations=7)
    for found in pipeline_exact.other_records(tmp_path):
        assert not found['different'], found


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        (dict(stages=0), 'stages=0 should be an integer from 1'),
        (dict(stages=5), 'stages=5 is more than the 4 blocks'),
        (dict(stages=2, depth=0), 'depth=0 should be an integer from 1'),
        (dict(stages=2, reducer='ring'), "reducer='ring' should be one of ddp, flat"),
        (dict(stages=3, cuts=[1]), r'cuts=\[1\] should be .* 2 rising numbers from 1 to 3'),
        (dict(stages=3, cuts=[2, 2]), r'cuts=\[2, 2\] should be'),
        (dict(stages=2, cuts=[4]), r'cuts=\[4\] should be'),
        (dict(stages=2, cuts=2), 'cuts=2 should be'),
    ],
)
def test_bad_arguments(keys, message):
    with pytest.raises(ValueError, match=message):
        LocalPipelineParallel(build_model('greedy'), **keys)


def test_blocks_that_rest_are_refused():
    cfg = model_cfg('greedy')
    cfg['train_blocks'] = [2, 3]
    with pytest.raises(ValueError, match=r'train_blocks=\[2, 3\] cannot be trained in a pipeline'):
        LocalPipelineParallel(MODELS.build(cfg), stages=2)


def test_another_model_is_refused():
    with pytest.raises(ValueError, match='wraps a LocalImageClassifier, not Linear'):
        LocalPipelineParallel(torch.nn.Linear(1, 1), stages=1)


def test_without_its_hook_it_does_not_train():
    model = LocalPipelineParallel(build_model('greedy'), stages=2)
    with pytest.raises(ValueError, match="should be dict\\(type='PipelineHook'\\)"):
        model.train_step(None, None)
