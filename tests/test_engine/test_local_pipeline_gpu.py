"""A pipeline over NCCL, one GPU a process."""

import pytest
import torch

from tests.helpers import pipeline_cases as trainings

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.dist,
    pytest.mark.full,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason='needs two CUDA devices'),
]


def test_all_is_that_of_one_process(tmp_path):
    cases = {name: trainings.CASES[name] for name in trainings.FEW}
    alone, stages = tmp_path / 'alone', tmp_path / 'stages'
    trainings.finish(trainings.start(alone, cases))
    trainings.finish(trainings.start(stages, cases, 2, 2))
    for name in cases:
        different = trainings.compare(alone, stages, name)
        assert not different, (name, different)


@pytest.mark.skipif(torch.cuda.device_count() < 4, reason='needs four CUDA devices')
def test_replicas_are_those_of_per_block_ddp(tmp_path):
    ddp, mesh = tmp_path / 'ddp', tmp_path / 'mesh'
    trainings.finish(trainings.start(ddp, trainings.REPLICATED, 2))
    trainings.finish(trainings.start(mesh, trainings.REPLICATED, 4, 2))
    for name in trainings.REPLICATED:
        different = trainings.compare(ddp, mesh, name)
        assert not different, (name, different)
