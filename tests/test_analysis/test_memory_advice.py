"""mman.analysis.memory_advice on predictions that are made up."""

import re

import pytest
from mmengine.config import Config

from mman.analysis.memory_advice import memory_advice
from mman.analysis.memory_plan import MemoryOverview, Variant
from mman.apis.memory_prediction import BlockMemory, MemoryReport

MIB = 2**20
BP, CHECKPOINTING = ('BP', 1, 'none', 100, 30), ('BP, recompute block', 1, 'block', 50, 40)


def advice(*rows, budget=None):
    """The advice for rows of (name, K, recompute, MiB, operations), a budget in MiB."""
    variants = []
    for name, count, recompute, size, flops in rows:
        blocks = (BlockMemory(size * MIB, 0, 0),) * count
        report = MemoryReport(0, 0, 0, blocks, flops, ('x',) * count)
        variants.append(Variant(name, Config(dict(model=dict(recompute=recompute))), False, report))
    gib = None if budget is None else budget / 1024
    return memory_advice(MemoryOverview(variants, 8, gib, None, []))


@pytest.mark.parametrize(
    ('split', 'said'),
    [
        (('K = 4', 4, 'none', 30, 33), 'the least memory takes K = 4, 30.0 MiB and 1.10 x'),
        (('K = 4', 4, 'none', 45, 33), 'the least memory takes K = 4, 45.0 MiB'),
        (('K = 4', 4, 'none', 46, 33), 'does not pay for memory here: K = 4 takes 8% less'),
        (('K = 4', 4, 'none', 60, 33), 'does not pay for memory here: K = 4 takes no less'),
    ],
)
def test_without_a_budget(split, said):
    text = advice(BP, CHECKPOINTING, split)
    assert said in text
    # Whatever is advised stands beside what BP can do.
    assert 'BP with checkpointing, 50.0 MiB and 1.33 x the arithmetic of BP' in text
    assert ('take BP' in text) == ('does not pay' in said)


@pytest.mark.parametrize(
    ('split', 'budget', 'said'),
    [
        # All of BP fits.
        (('K = 4', 4, 'none', 30, 20), 100, r'take BP, which fits \(100.0 MiB\)'),
        # Checkpointing fits and is the faster: it comes first, however small the split is.
        (('K = 4', 4, 'none', 10, 41), 60, 'take BP with checkpointing, 50.0 MiB.*less arithmetic'),
        (('K = 4', 4, 'none', 10, 38), 60, 'take BP with checkpointing.*5% less.*does not pay'),
        (('K = 4', 4, 'none', 10, 36), 60, 'take K = 4, 10.0 MiB.*10% less arithmetic than BP'),
        (('K = 4', 4, 'none', 61, 31), 60, 'take BP with checkpointing.*no split fits'),
        # Checkpointing does not fit.
        (('K = 4', 4, 'none', 30, 90), 40, 'take K = 4, 30.0 MiB and 3.00 x'),
        (('K = 4', 4, 'none', 48, 33), 49, 'smaller batch.*does not pay.*K = 4 takes 4% less'),
        (('K = 4', 4, 'none', 30, 33), 20, 'no split fits.*smaller batch'),
    ],
)
def test_within_a_budget(split, budget, said):
    assert_found(said, advice(BP, CHECKPOINTING, split, budget=budget))


def test_of_several_splits_the_least_arithmetic_that_fits():
    rows = [('K = 2', 2, 'none', 45, 31), ('K = 3', 3, 'none', 38, 35), ('K = 9', 9, 'none', 9, 60)]
    assert_found('take K = 3', advice(BP, CHECKPOINTING, *rows, budget=40))
    assert_found('least memory takes K = 9', advice(BP, CHECKPOINTING, *rows))


def test_without_rows_of_bp_there_is_none():
    assert 'none' in advice(('K = 4', 4, 'none', 30, 20))


def assert_found(pattern, text):
    assert re.search(pattern, text), text
