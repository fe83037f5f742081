"""mman.analysis.splits against figures computed by hand."""

import re

import pytest

from mman import apis
from mman.analysis.splits import split_text
from mman.utils import UserError

R32 = 'configs/man/resnet32_k16_cifar10.py'

# CIFAR ResNet-32, from its layers: two 3 x 3 convolutions and their BatchNorms a unit,
# and a 1 x 1 projection with one where the width changes.
STEM = 3 * 16 * 9 + 2 * 16
SAME = {c: 2 * (c * c * 9 + 2 * c) for c in (16, 32, 64)}
WIDER = {c: c // 2 * c * 9 + c * c * 9 + c // 2 * c + 3 * 2 * c for c in (32, 64)}
RESNET32_UNITS = [SAME[16]] * 5 + [WIDER[32]] + [SAME[32]] * 4 + [WIDER[64]] + [SAME[64]] * 4
# InfoPro's decoder (C -> 12 -> 3) and its aux net 2c2f on the width of the next unit.
DECODER = {c: c * 12 * 9 + 12 + 24 + 12 * 3 * 9 + 3 for c in (16, 32, 64)}
AUX_NET = {
    c: (c * w + w * w) * 9 + 2 * 2 * w + w * 128 + 128 + 128 * 10 + 10
    for c, w in ((16, 32), (32, 64), (64, 64))
}
HOSTS = 5 * sum(DECODER[c] + AUX_NET[c] for c in (16, 32, 64))


def split(*options, config=R32):
    """What is printed of a config with ``KEY=VALUE`` changes."""
    return split_text(apis.load_config(config, dict(options)))


def total(output, name):
    """The number of one line of the totals."""
    (found,) = re.findall(rf'^{name}: +([\d,]+)$', output, re.M)
    return int(found.replace(',', ''))


def test_resnet32_k16():
    out = split()
    assert STEM + sum(RESNET32_UNITS) + 64 * 10 + 10 == 466_906
    assert total(out, 'parameters at inference') == 466_906
    copies = sum(RESNET32_UNITS)
    assert total(out, 'frozen momentum parameters') == copies
    assert total(out, 'trained parameters') == 466_906 + copies + HOSTS
    rows = re.findall(r'^\d+ +(\S+) \(1\) +(\d+ x \d+ x \d+) +([\d,]+) ', out, re.M)
    assert len(rows) == 16
    assert [int(row[2].replace(',', '')) for row in rows] == [STEM, *RESNET32_UNITS]
    assert rows[0][:2] == ('stem', '16 x 32 x 32') and rows[6][:2] == ('2.0', '32 x 16 x 16')


def test_options_change_the_split():
    out = split(('model.splitter.num_blocks', 1), ('model.splitter.stem', 'fused'))
    assert 'stem - 3.4 (16)' in out
    assert total(out, 'parameters at inference') == total(out, 'trained parameters') == 466_906
    assert total(out, 'frozen momentum parameters') == 0


def test_a_backbone_may_be_partly_frozen():
    # A frozen stem cannot be a block, and what is frozen in a backbone is no momentum unit.
    out = split(
        ('model.splitter.num_blocks', 2),
        ('model.splitter.stem', 'fused'),
        ('model.backbone.frozen_stages', 0),
    )
    assert total(out, 'parameters at inference') == 466_906
    assert total(out, 'frozen momentum parameters') == SAME[32]  # of 2.2
    hosts = DECODER[32] + AUX_NET[32]
    assert total(out, 'trained parameters') == 466_906 - STEM + SAME[32] + hosts


@pytest.mark.parametrize(
    ('config', 'options', 'message'),
    [
        ('configs/_base_/datasets/digits.py', [], 'digits.py.*model.splitter'),
        (R32, [('model.splitter.num_blocks', 7)], 'num_blocks=7.*resnet32'),
        (R32, [('model.splitter.num_block', 7)], 'num_block.*num_blocks'),
        (R32, [('model.type', 'Absent')], 'Absent.*registry'),
    ],
)
def test_a_config_that_cannot_be_cut(config, options, message):
    with pytest.raises(UserError, match=message):
        split(*options, config=config)


def test_a_project_with_its_own_head():
    out = split(config='projects/example_custom_head/configs/cosine_resnet20_k10_digits.py')
    assert total(out, 'parameters at inference') == 272_474
    # Ten class vectors as wide as each of the first nine blocks.
    widths = 4 * 16 + 3 * 32 + 2 * 64
    assert total(out, 'trained parameters') == 272_474 + 10 * widths
    assert total(out, 'frozen momentum parameters') == 0
