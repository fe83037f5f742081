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
    """The advice for rows of (name, K, recompute, MiB, operations, parts, MiB of the host).

    The last two may be left out; a budget is in MiB.
    """
    variants = []
    for name, count, recompute, size, flops, *rest in rows:
        parts, host = (*rest, *(1, 0)[len(rest) :])
        blocks = (BlockMemory(size * MIB, 0, 0, host * MIB),) * count
        report = MemoryReport(0, 0, 0, blocks, flops / parts, ('x',) * count)
        cfg = Config(dict(model=dict(recompute=recompute)))
        variants.append(Variant(name, cfg, False, report, parts=parts))
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
    assert 'BP, recompute block, 50.0 MiB and 1.33 x the arithmetic of BP' in text
    assert ('take BP' in text) == ('does not pay' in said)


@pytest.mark.parametrize(
    ('split', 'budget', 'said'),
    [
        # All of BP fits.
        (('K = 4', 4, 'none', 30, 20), 100, r'take BP, which fits \(100.0 MiB\)'),
        # Checkpointing fits and is the faster: it comes first, however small the split is.
        (
            ('K = 4', 4, 'none', 10, 41),
            60,
            'take BP, recompute block, 50.0 MiB.*no more arithmetic',
        ),
        (('K = 4', 4, 'none', 10, 38), 60, 'take BP, recompute block.*5% less.*does not pay'),
        (('K = 4', 4, 'none', 10, 36), 60, 'take K = 4, 10.0 MiB.*10% less arithmetic than BP'),
        (('K = 4', 4, 'none', 61, 31), 60, 'take BP, recompute block.*no split fits'),
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


def test_a_batch_in_parts_comes_first_where_it_takes_no_more_than_the_split():
    parts, split = ('BP, batch in 4 parts', 1, 'none', 28, 30, 4), ('K = 4', 4, 'none', 30, 33)
    first = (
        'take BP, batch in 4 parts, 28.0 MiB and 1.00 x.*BatchNorm may see smaller batches.*'
        'must stay whole: .*K = 4'
    )
    assert_found(first, advice(BP, CHECKPOINTING, parts, split))
    assert_found(first, advice(BP, CHECKPOINTING, parts, split, budget=40))
    # Nothing else fits.
    assert_found(
        'take BP, batch in 4.*whole: no split', advice(BP, CHECKPOINTING, parts, budget=29)
    )
    # The split takes less of one or the other.
    last = 'K = 9, .*Where BatchNorm may see smaller batches, there is BP, batch in 4 parts, 28.0'
    for split in (('K = 9', 9, 'none', 20, 60), ('K = 9', 9, 'none', 30, 24)):
        assert_found(f'the least memory takes {last}', advice(BP, CHECKPOINTING, parts, split))
    assert_found(f'take {last}', advice(BP, CHECKPOINTING, parts, split, budget=40))


@pytest.mark.parametrize('host', [20, 200])
def test_every_way_of_bp_counts_host_included(host):
    """Of the ways that keep the whole batch, the one that takes the least is the measure."""
    steps = ('BP, steps in the backward pass, recompute block', 1, 'block', 45, 40)
    kept = ('BP, saved tensors on the CPU', 1, 'none', 10, 30, 1, host)
    split = ('K = 4', 4, 'none', 36, 33)
    text = advice(BP, CHECKPOINTING, steps, kept, split)
    if host == 20:
        assert_found('take BP, saved tensors on the CPU, 30.0 MiB .device and host.', text)
        assert_found('does not pay for memory here: K = 4 takes no less', text)
        assert_found('take BP, saved', advice(BP, CHECKPOINTING, steps, kept, split, budget=40))
    else:
        assert_found('least memory takes K = 4.*20% less than BP, steps in the backward', text)
        assert_found(
            'take K = 4.*BP, steps', advice(BP, CHECKPOINTING, steps, kept, split, budget=40)
        )


def test_without_rows_of_bp_there_is_none():
    assert 'none' in advice(('K = 4', 4, 'none', 30, 20))


def assert_found(pattern, text):
    assert re.search(pattern, text), text
