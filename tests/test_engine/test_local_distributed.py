"""Several processes train as one would, exactly."""

import pytest
import torch
from torch import multiprocessing

from mman.engine.wrappers import LocalDistributedDataParallel
from tests.helpers import dist_cases
from tests.helpers.settings import build_model

pytestmark = pytest.mark.dist


@pytest.fixture(
    scope='module',
    params=[
        pytest.param((2, dist_cases.FEW), id='2ranks'),
        pytest.param((3, dist_cases.REST), id='3ranks', marks=pytest.mark.full),
    ],
)
def ranks(request, tmp_path_factory):
    """Results of every rank, for some cases at once."""
    folder = tmp_path_factory.mktemp('ranks')
    world, cases = request.param
    # Imports once; the ranks are its forks.
    multiprocessing.set_forkserver_preload(['tests.helpers.dist_cases'])
    multiprocessing.start_processes(
        dist_cases.main, (world, cases, str(folder)), nprocs=world, start_method='forkserver'
    )
    return [torch.load(folder / f'rank{r}.pt', weights_only=True) for r in range(world)]


def test_all_ranks_are_the_same_to_the_bit(ranks):
    first, *others = [rank['cases'] for rank in ranks]
    for case, mine in first.items():
        for other in others:
            for ours, theirs in zip(mine, other[case], strict=True):
                for group in ('gradients', 'parameters'):
                    assert ours[group].keys() == theirs[group].keys()
                    for name, value in ours[group].items():
                        assert torch.equal(value, theirs[group][name]), (case, name)


def test_one_process_that_averages_the_shards_gives_the_same(ranks):
    for case, history in ranks[0]['cases'].items():
        expected = dist_cases.train_one_process(case, len(ranks))
        if dist_cases.dtype_of(case) == torch.float32:
            # Rounding grows from step to step.
            _assert_close(history[0], expected[0], 1e-6, (case, 0))
            continue
        for i, (mine, theirs) in enumerate(zip(history, expected, strict=True)):
            _assert_close(mine, theirs, 1e-12, (case, i))


def _assert_close(mine, theirs, tolerance, where):
    for group in ('gradients', 'parameters'):
        assert mine[group].keys() == theirs[group].keys()
        for name, value in theirs[group].items():
            off = (mine[group][name] - value).abs().max()
            limit = tolerance * max(1.0, float(value.abs().max()))
            assert off <= limit, (where, group, name, float(off))


def test_the_reducers_keep_one_copy_of_the_gradients(ranks):
    for rank in ranks:
        (peak, gradients), (single, _) = rank['bytes']
        assert peak <= single + gradients


def test_buffers_become_the_mean_of_all_ranks(ranks):
    before = [rank['buffers'][0] for rank in ranks]
    assert not torch.equal(
        before[0]['backbone.bn1.running_mean'], before[1]['backbone.bn1.running_mean']
    )
    for rank in ranks:
        for name, value in rank['buffers'][1].items():
            group = torch.stack([buffers[name] for buffers in before])
            if value.is_floating_point():
                assert torch.allclose(value, group.mean(dim=0), rtol=0, atol=1e-12), name
            else:
                assert torch.equal(value, group[0]), name


@pytest.mark.parametrize('reducer', ['ddp', 'flat'])
def test_no_sync_leaves_every_rank_its_own_gradients(ranks, reducer):
    inside = [rank['no_sync'][reducer][0] for rank in ranks]
    after = [rank['no_sync'][reducer][1] for rank in ranks]
    for name, value in after[0].items():
        mean = sum(gradients[name] for gradients in inside) / len(ranks)
        assert torch.allclose(value, mean, rtol=0, atol=1e-12), name
    name = 'backbone.conv1.weight'
    assert not torch.equal(inside[0][name], inside[1][name])


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        (dict(reducer='ring'), "reducer='ring' should be one of ddp, flat"),
        (dict(blocks_per_reduction=0), 'blocks_per_reduction=0 should be an integer'),
        (dict(blocks_per_reduction=2), "blocks_per_reduction=2 needs reducer='flat'"),
        (dict(reducer='flat', bucket_cap_mb=1), "bucket_cap_mb=1 needs reducer='ddp'"),
    ],
)
def test_bad_arguments(keys, message):
    with pytest.raises(ValueError, match=message):
        LocalDistributedDataParallel(build_model('greedy'), **keys)


def test_another_model_is_refused():
    with pytest.raises(ValueError, match='wraps a LocalImageClassifier, not Linear'):
        LocalDistributedDataParallel(torch.nn.Linear(1, 1))
