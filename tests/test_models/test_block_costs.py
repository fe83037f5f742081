"""Costs of blocks from those of units, and the splits that they lead to."""

import itertools
import random

import pytest
from mmengine.config import Config

from mman.apis.memory_prediction import predict_memory
from mman.models.classifiers.block_costs import BlockCosts
from mman.models.recompute import Recompute
from mman.models.splitters.search import cheapest, smallest_peak
from mman.registry import MODELS
from mman.utils import UserError
from tests.helpers.settings import RECOMPUTED, in_tiers, model_cfg
from tests.helpers.stand_in_runner import SGD

WRAPPER = dict(type='BlockOptimWrapper', constructor='BlockOptimWrapperConstructor', optimizer=SGD)


def _spans(ends):
    return list(zip([0, *(end + 1 for end in ends[:-1])], ends, strict=True))


# Costs come from units and heads, of which each is there with recomputation or without.
ROWS = RECOMPUTED[::3]


@pytest.mark.parametrize(('method', 'backbone', 'recompute'), in_tiers(ROWS, ROWS[1:8:4]))
def test_blocks_cost_what_a_whole_iteration_says(method, backbone, recompute):
    """Every block's peak and the sum of arithmetic, against the prediction of the whole."""
    deep = backbone in ('vit', 'mlp')
    ends = ['1.0', '1.3', '1.4', '1.7'] if deep else ['1.0', '2.1', '3.0', '3.2']
    cfg = model_cfg(method, backbone, recompute=recompute, ends=ends)
    report = predict_memory(Config(dict(model=cfg, optim_wrapper=WRAPPER)), 32)
    model = MODELS.build(cfg)
    units = [unit for block in model.block_units for unit in block]
    costs = BlockCosts(model, cfg['aux_head'], Recompute(recompute), units, 4, 32)
    spans = _spans([1, 4, 5, 8] if deep else [1, 5, 7, 9])
    steady = report.parameters + report.buffers + report.optimizer
    images = 32 * 3 * 16 * 16  # as bytes
    for span, block in zip(spans, report.blocks, strict=True):
        assert costs.peak(*span) == pytest.approx(block.peak - steady - images, rel=0.05), span
    assert sum(costs.flops(*span) for span in spans) == pytest.approx(report.flops, rel=0.01)


class Table:
    """Costs out of thin air."""

    def __init__(self, count, seed):
        rng = random.Random(seed)
        self.units = list(range(count))
        self._peaks, self._flops = (
            {
                span: rng.randint(1, 9)
                for span in itertools.combinations_with_replacement(range(count), 2)
            }
            for _ in range(2)
        )

    def peak(self, start, end):
        return self._peaks[start, end]

    def flops(self, start, end):
        return self._flops[start, end]


def _all_splits(count, num_blocks, stem):
    for inner in itertools.combinations(range(count - 1), num_blocks - 1):
        if num_blocks == 1 or (inner[0] == 0) == (stem == 'own'):
            yield [*inner, count - 1]


@pytest.mark.parametrize('stem', ['own', 'fused'])
@pytest.mark.parametrize('num_blocks', [1, 2, 3, 4])
def test_searches_find_the_best_of_all_splits(num_blocks, stem):
    for seed in range(10):
        _check_searches(Table(7, seed), num_blocks, stem)


def _check_searches(table, num_blocks, stem):

    def peak(ends):
        return max(table.peak(*span) for span in _spans(ends))

    def flops(ends):
        return sum(table.flops(*span) for span in _spans(ends))

    splits = list(_all_splits(7, num_blocks, stem))
    best = min(map(peak, splits))
    found = smallest_peak(table, num_blocks, stem)
    assert found in splits
    assert peak(found) == best
    assert flops(found) == min(flops(ends) for ends in splits if peak(ends) == best)
    for limit in range(10):
        within = [flops(ends) for ends in splits if peak(ends) <= limit]
        found = cheapest(table, num_blocks, stem, limit, table.flops)
        assert (found is None) == (not within)
        if within:
            assert found in splits and peak(found) <= limit and flops(found) == min(within)


@pytest.mark.full
def test_strategy_memory_beats_every_other_split():
    """K = 3 of a small network, every split of it predicted as a whole."""

    def predicted(**splitter):
        cfg = model_cfg('man', recompute='all', **splitter)
        return predict_memory(Config(dict(model=cfg, optim_wrapper=WRAPPER)), 64)

    chosen = predicted(strategy='memory', num_blocks=3, stem='own', batch_size=64)
    names = ['stem', *(f'{stage}.{unit}' for stage in (1, 2, 3) for unit in range(3))]
    peaks = [
        predicted(ends=[names[end] for end in ends]).peak for ends in _all_splits(10, 3, 'own')
    ]
    assert chosen.ends[0] == 'stem'
    # What the heads hold differs between splits, and is not in a block's peak.
    assert chosen.peak <= 1.02 * min(peaks) < 1.2 * max(peaks)


def test_one_head_for_all_blocks_is_needed():
    cfg = model_cfg('greedy', strategy='memory', num_blocks=3)
    cfg['aux_head'] = [cfg['aux_head']] * 2
    with pytest.raises(UserError, match=r"strategy='memory' compares blocks by the head"):
        MODELS.build(cfg)
