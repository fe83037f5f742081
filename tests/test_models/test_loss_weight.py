from types import SimpleNamespace

import pytest

from mman.models.aux_heads import loss_weight, loss_weights


def _context(index, num_blocks):
    return SimpleNamespace(index=index, num_blocks=num_blocks, num_heads=num_blocks - 1)


def _weights(value, num_blocks=4):
    return [loss_weight(value, _context(k, num_blocks), 'weight') for k in range(num_blocks - 1)]


def test_a_constant_a_list_and_a_line():
    assert _weights(0.5) == [0.5, 0.5, 0.5]
    assert _weights([1, 2.5, 0]) == [1, 2.5, 0]
    # From the first at block 0 to the second at block K - 2.
    assert _weights(dict(first=5, last=1)) == [5, 3, 1]
    assert _weights(dict(first=0, last=2), num_blocks=6) == pytest.approx([0, 0.5, 1, 1.5, 2])
    assert _weights(dict(first=5, last=0), num_blocks=2) == [5]


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ([1, 2], 'weight has 2 weights, but there are 3 blocks with an aux head'),
        ([1, 2, 3, 4], 'weight has 4 weights, but there are 3'),
        (dict(first=1), 'should have the keys first and last'),
        (dict(first=1, last=2, middle=3), 'should have the keys first and last'),
        (float('inf'), 'weight=inf should be a number'),
        (float('nan'), 'weight=nan should be a number'),
        ('1', "weight='1' should be a number"),
        (True, 'weight=True should be a number'),
    ],
)
def test_bad_weights(value, message):
    with pytest.raises(ValueError, match=message):
        _weights(value)


def test_a_block_that_would_train_on_nothing():
    with pytest.raises(ValueError, match='block 2 would train on nothing: a, b are all 0 there'):
        loss_weights(_context(2, 4), a=0.0, b=[1.0, 1.0, 0.0])
    assert loss_weights(_context(2, 4), a=0, b=[0.0, 0.0, 0.1]) == [0.0, 0.1]
