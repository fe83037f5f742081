"""A pipeline of stages trains as one process, to the bit."""

import pytest
import torch

from mman.engine.wrappers import LocalPipelineParallel
from tests.helpers import pipeline_cases as trainings
from tests.helpers.settings import build_model

pytestmark = pytest.mark.dist

REST = [name for name in trainings.CASES if name not in trainings.FEW]
# Every case with two, three or four stages, of one block each then; MAN with all of them.
PLANS = {
    ('few', 2): trainings.FEW,
    ('rest', 2): REST[0::3],
    ('rest', 3): [*REST[1::3], *trainings.FEW],
    ('rest', 4): [*REST[2::3], *trainings.FEW],
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
