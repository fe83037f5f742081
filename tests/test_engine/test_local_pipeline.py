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
from tests.helpers.settings import build_model

pytestmark = pytest.mark.dist

REST = [name for name in trainings.CASES if name not in trainings.FEW]
# Every case with two, three or four stages, of one block each then; momentum units with all.
PLANS = {
    ('few', 2): trainings.FEW,
    ('rest', 2): REST[0::3],
    ('rest', 3): [*REST[1::3], *trainings.FEW[1:]],
    ('rest', 4): [*REST[2::3], *trainings.FEW[1:]],
}


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    """``alone(names)``: the folder of trainings in one process, each done once."""
    folder, done = tmp_path_factory.mktemp('alone'), set()

    def train(names):
        new = {name: trainings.CASES[name] for name in names if name not in done}
        done.update(new)
        # A meeting file and a folder of its own for each start.
        return folder, trainings.start(folder, new)

    return train


@pytest.mark.parametrize(
    ('names', 'stages'),
    [
        pytest.param(names, stages, marks=[pytest.mark.full] * (kind == 'rest'))
        for (kind, stages), names in PLANS.items()
    ],
    ids=['-'.join(map(str, plan)) for plan in PLANS],
)
def test_all_is_that_of_one_process(alone, tmp_path, names, stages):
    """Weights, averages, optimizers, random numbers, logs: all that a checkpoint holds."""
    folder, reference = alone(names)
    cases = {name: trainings.CASES[name] for name in names}
    trainings.finish(reference, trainings.start(tmp_path / 'stages', cases, stages, stages))
    for name in names:
        different = trainings.compare(folder, tmp_path / 'stages', name)
        assert not different, (name, different)
        if name in trainings.FEW:
            _assert_bytes(name, tmp_path / 'stages' / name, stages)


def _assert_bytes(name, folder, stages):
    """What was sent is what is planned, and the features once more at the end."""
    method, special = trainings.CASES[name]
    cfg = trainings.config(method, folder, **special)
    model = MODELS.build(cfg.model)
    surveys = survey_blocks(model)
    layout = spans(balanced_cuts([survey.flops for survey in surveys], stages), len(surveys))
    steps = trainings.ITERATIONS
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


def test_another_timing_of_the_average_is_not_equal(alone, tmp_path):
    """What is compared can differ: MAN's average after the step, and before it."""
    folder, reference = alone(['man'])
    cases = {'man': trainings.SPECIAL['pre-step']}
    trainings.finish(reference, trainings.start(tmp_path, cases))
    different = trainings.compare(folder, tmp_path, 'man')
    assert any('momentum_unit' in path for path in different)
    assert any('/optimizer/block2' in path for path in different)


@pytest.mark.full
def test_replicas_are_those_of_per_block_ddp(tmp_path):
    ddp, mesh = tmp_path / 'ddp', tmp_path / 'mesh'
    trainings.finish(trainings.start(ddp, trainings.REPLICATED, 2))
    trainings.finish(trainings.start(mesh, trainings.REPLICATED, 4, 2))
    for name in trainings.REPLICATED:
        different = trainings.compare(ddp, mesh, name)
        assert not different, (name, different)


@pytest.mark.full
def test_one_block_in_one_stage(tmp_path):
    """K = 1, which is backpropagation."""
    cases = {'one': ('man', dict(num_blocks=1))}
    alone, stage = tmp_path / 'alone', tmp_path / 'stage'
    trainings.finish(trainings.start(alone, cases), trainings.start(stage, cases, 1, 1))
    assert not trainings.compare(alone, stage, 'one')


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        (dict(stages=0), 'stages=0 should be an integer from 1'),
        (dict(stages=5), 'stages=5 is more than the 4 blocks'),
        (dict(stages=2, depth=0), 'depth=0 should be an integer from 1'),
        (dict(stages=2, reducer='ring'), "reducer='ring' should be 'ddp' or 'flat'"),
        (dict(stages=3, cuts=[1]), r'cuts=\[1\] should be .* 2 rising numbers from 1 to 3'),
        (dict(stages=3, cuts=[2, 2]), r'cuts=\[2, 2\] should be'),
        (dict(stages=2, cuts=[4]), r'cuts=\[4\] should be'),
        (dict(stages=2, cuts=2), 'cuts=2 should be'),
    ],
)
def test_bad_arguments(keys, message):
    with pytest.raises(ValueError, match=message):
        LocalPipelineParallel(build_model('greedy'), **keys)


def test_another_model_is_refused():
    with pytest.raises(ValueError, match='wraps a LocalImageClassifier, not Linear'):
        LocalPipelineParallel(torch.nn.Linear(1, 1), stages=1)


def test_without_its_hook_it_does_not_train():
    model = LocalPipelineParallel(build_model('greedy'), stages=2)
    with pytest.raises(ValueError, match="should be dict\\(type='PipelineHook'\\)"):
        model.train_step(None, None)
