"""A pipeline over NCCL, one GPU a process."""

import pytest
import torch

from tests.helpers import pipeline_cases as trainings
from tests.helpers import pipeline_exact

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.dist,
    pytest.mark.full,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason='needs two CUDA devices'),
]


def test_all_is_that_of_one_process(tmp_path):
    trainings.train_all(tmp_path, {2: trainings.FEW}, iterations=50)
    for name in trainings.FEW:
        different = trainings.compare(tmp_path / '1' / name, tmp_path / '2' / name)
        assert not different, (name, different)


@pytest.mark.skipif(torch.cuda.device_count() < 4, reason='needs four CUDA devices')
def test_replicas_are_those_of_per_block_ddp(tmp_path):
    pipeline_exact.train_others(tmp_path, iterations=50)
    for found in pipeline_exact.other_records(tmp_path):
        assert not found['different'], found
