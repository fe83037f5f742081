import pytest

from mman.models import LocalBlockSplitter
from mman.models.splitters.presets import DEFAULT_PRESETS, PRESETS
from mman.registry import MODELS


def _ends(depth=32, type='CIFARResNet', shape=(3, 32, 32), **splitter):
    backbone = MODELS.build(dict(type=type, depth=depth))
    blocks = LocalBlockSplitter(**splitter).split(backbone, shape)
    names = [unit.name for block in blocks for unit in block]
    assert len(names) == len(set(names)) and names[0] == 'stem'
    return [block[-1].name for block in blocks]


def _stages(text):
    """'1:0,2 2:1' as ['1.0', '1.2', '2.1']."""
    return [
        f'{s}.{u}' for part in text.split() for s, us in [part.split(':')] for u in us.split(',')
    ]


# The tables of the papers' released configurations, written stage by stage.
@pytest.mark.parametrize(
    ('depth', 'num_blocks', 'ends'),
    [
        (32, 2, '2:1'),
        (32, 3, '1:4 2:4'),
        (32, 4, '1:2 2:1 3:0'),
        (32, 8, '1:0,2,4 2:1,3 3:0,2'),
        (110, 2, '2:8'),
        (110, 3, '1:17 2:17'),
        (110, 4, '1:11 2:7 3:3'),
        (110, 8, '1:4,11 2:0,7,14 3:3,10'),
        (110, 16, '1:1,4,7,10,13,16 2:1,4,7,11,15 3:1,5,9,13'),
        (
            110,
            32,
            '1:1,2,4,5,7,9,11,13,14,16,17 2:1,2,4,5,7,9,11,13,14,16,17 3:1,3,4,6,7,9,11,13,15',
        ),
    ],
)
def test_published_splits(depth, num_blocks, ends):
    last = '3.4' if depth == 32 else '3.17'
    expected = [*_stages(ends), last]
    assert len(expected) == num_blocks
    assert _ends(depth, num_blocks=num_blocks) == expected
    # With the stem as a block of its own there is one more.
    assert _ends(depth, num_blocks=num_blocks + 1, stem='own') == ['stem', *expected]


@pytest.mark.parametrize(('depth', 'per_stage', 'k'), [(32, 5, 16), (110, 18, 55), (20, 3, 10)])
def test_every_unit_a_block(depth, per_stage, k):
    every = [f'{s}.{u}' for s in (1, 2, 3) for u in range(per_stage)]
    assert _ends(depth, num_blocks=k, stem='own') == ['stem', *every]
    assert _ends(depth, num_blocks=k - 1) == every


@pytest.mark.parametrize(
    ('type', 'depth', 'num_blocks', 'ends'),
    [
        ('ResNet', 101, 2, ['2.0']),
        ('ResNet', 101, 4, ['2.2', '3.8', '3.16']),
        ('ResNet', 152, 2, ['2.5']),
        ('ResNet', 152, 4, ['2.6', '3.13', '3.25']),
        ('ResNeXt', 101, 2, ['2.0']),
        ('ResNet', 50, 4, ['1.2', '2.3', '3.5']),
    ],
)
def test_published_imagenet_splits(type, depth, num_blocks, ends):
    assert _ends(depth, type, (3, 64, 64), num_blocks=num_blocks) == [*ends, '4.2']


def test_every_preset_is_in_order_and_has_a_source():
    for source, splits in PRESETS.values():
        assert source
        for num_blocks, ends in splits.items():
            pairs = [tuple(map(int, end.split('.'))) for end in ends.split()]
            assert len(pairs) == num_blocks - 1 and pairs == sorted(set(pairs))
    assert set(DEFAULT_PRESETS.values()) <= set(PRESETS)


def test_a_named_preset():
    ends = _ends(110, num_blocks=3, preset='resnet110-balanced-stl10')
    assert ends == ['1.8', '2.1', '3.17']


def test_uniform_blocks_differ_by_one_unit_at_most():
    backbone = MODELS.build(dict(type='CIFARResNet', depth=20))
    for k in range(2, 10):
        blocks = LocalBlockSplitter(num_blocks=k, strategy='uniform').split(backbone, (3, 8, 8))
        sizes = [sum(unit.name != 'stem' for unit in block) for block in blocks]
        assert len(sizes) == k and sum(sizes) == 9
        assert max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes, reverse=True)


def test_single_units_are_blocks_and_the_last_takes_the_rest():
    every = ['stem', *(f'{s}.{u}' for s in (1, 2, 3) for u in range(5))]
    # AugLocal with 5 units per aux network: the last 6 units train jointly.
    assert _ends(num_blocks=11, strategy='single', stem='own') == [*every[:10], '3.4']
    assert _ends(num_blocks=10, strategy='single') == [*every[1:10], '3.4']
    assert _ends(num_blocks=16, strategy='single', stem='own') == every
    assert _ends(num_blocks=2, strategy='single', stem='own') == ['stem', '3.4']
    assert _ends(num_blocks=1, strategy='single', stem='own') == ['3.4']


def test_one_block_is_the_whole_network():
    assert _ends(num_blocks=1) == ['3.4']
    assert _ends(num_blocks=1, stem='own') == ['3.4']


@pytest.mark.parametrize(
    'ends', [['stem', '1.4', '3.4'], [(0, 0), (1, 4), (3, 4)], ['0.0', [1, 4], '3.4']]
)
def test_ends_may_be_written_in_several_ways(ends):
    assert _ends(ends=ends) == ['stem', '1.4', '3.4']


@pytest.mark.parametrize(
    ('splitter', 'message'),
    [
        (dict(), 'either num_blocks or ends'),
        (dict(num_blocks=2, ends=['3.4']), 'either num_blocks or ends'),
        (dict(num_blocks=0), 'num_blocks=0 should be an integer from 1'),
        (dict(num_blocks='8'), "num_blocks='8' should be an integer"),
        (dict(num_blocks=17, stem='own'), 'num_blocks=17 is more than the 16 blocks'),
        (
            dict(num_blocks=16),
            "16 is more than the 15 blocks.*stem='own' allows one more",
        ),
        (dict(num_blocks=5), r'num_blocks=5 is not in the preset .*\[2, 3, 4, 8\].*uniform'),
        (
            dict(num_blocks=2, strategy='even'),
            "strategy='even' should be one of preset, uniform, single, memory",
        ),
        (dict(num_blocks=17, strategy='single', stem='own'), '17 is more than the 16 blocks'),
        (dict(num_blocks=2, stem='none'), "stem='none' should be one of fused, own"),
        (dict(num_blocks=2, preset='vgg'), "preset='vgg' should be one of"),
        (dict(num_blocks=2, preset='resnet110'), "preset='resnet110' does not fit"),
        (dict(ends=['2.0', '1.0', '3.4']), 'should be in order'),
        (dict(ends=['1.0', '1.0', '3.4']), 'should be in order, each unit once'),
        (dict(ends=['1.0', '2.0']), "should reach the last unit, '3.4'"),
        (dict(ends=['1.0', '3.5']), "ends has '3.5', which is not a unit"),
        (dict(ends=[1.1, '3.4']), "ends has 1.1, which should be 'stem'"),
        (dict(ends=[]), "should reach the last unit, '3.4'"),
    ],
)
def test_bad_splits_are_named(splitter, message):
    with pytest.raises(ValueError, match=message):
        _ends(**splitter)


def test_a_network_without_preset_says_what_to_do():
    with pytest.raises(ValueError, match='knows no split of CIFARResNet of depth 44.*uniform'):
        _ends(44, num_blocks=3)
