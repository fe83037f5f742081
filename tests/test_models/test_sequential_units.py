"""Which networks are layers in a row, and where their units begin and end."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mman.models.splitters import Unit
from mman.models.splitters.adapters import find_adapter, sequential_units
from mman.registry import UNIT_ADAPTERS
from mman.utils import UserError
from mman.utils.fake_copy import fake_copy


def conv(inputs=4, outputs=4):
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Net(nn.Module):
    """Three convolutions, called as ``forward`` says."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = conv(3), conv(), conv()

    def forward(self, x):
        return (self.c(self.b(self.a(x))),)


def layout(net, **kwargs):
    """Names of the units with the paths of their parts."""
    units = sequential_units(net, (3, 8, 8), **kwargs)
    return {unit.name: list(unit.parts) for unit in units}


def test_modules_called_one_after_the_other_are_units():
    net = Net()
    assert layout(net) == {'stem': ['a'], '1.0': ['b'], '1.1': ['c']}
    (unit, *_) = sequential_units(net, (3, 8, 8))
    assert unit.parts['a'] is net.a


class Skip(Net):
    def forward(self, x):
        x = self.a(x)
        return (self.c(x + self.b(x)),)


class SkipInPlace(Net):
    def forward(self, x):
        skip = self.a(x)
        x = self.b(skip)
        x += skip
        return (self.c(x),)


class Step(Net):
    def forward(self, x):
        return (self.c(self.b(self.a(x)).relu()),)


class Dropped(Net):
    """In eval mode, dropout would not show."""

    def forward(self, x):
        return (self.c(F.dropout(self.b(self.a(x)), 0.5, self.training)),)


class StepBefore(Net):
    def forward(self, x):
        return (self.c(self.b(self.a(x / 255))),)


class StepAfter(Net):
    def forward(self, x):
        return (self.c(self.b(self.a(x))).relu(),)


class Twice(Net):
    def forward(self, x):
        return (self.c(self.b(self.b(self.a(x)))),)


class Wide(nn.Conv2d):
    def forward(self, x, scale=1):
        return super().forward(x)


class Keyword(Net):
    def __init__(self):
        super().__init__()
        self.b = Wide(4, 4, 1)

    def forward(self, x):
        return (self.c(self.b(self.a(x), scale=2)),)


class Maps(Net):
    def forward(self, x):
        x = self.a(x)
        return x, self.b(x)


class Failing(Net):
    def forward(self, x):
        raise RuntimeError('too small')


@pytest.mark.parametrize(
    ('kind', 'reason'),
    [
        (Skip, "in Skip 'c' does not take what 'b' returned"),
        (SkipInPlace, "'c' does not take what 'b' returned"),
        (Step, "'c' does not take what 'b' returned"),
        (Dropped, "'c' does not take what 'b' returned"),
        (StepBefore, "'a' does not take the input"),
        (StepAfter, "the output is not the one tensor that 'c' returned"),
        (Twice, "'b' is called twice"),
        (Keyword, "'b' takes other arguments than one tensor"),
        (Maps, "'b' does not take|the output is not the one tensor that 'b' returned"),
        (Failing, r'does not run on images of \(3, 8, 8\), by .* \(RuntimeError: too small'),
    ],
)
def test_what_is_not_in_a_row_is_refused_with_the_place(kind, reason):
    with pytest.raises(UserError, match=reason) as found:
        sequential_units(kind(), (3, 8, 8))
    assert f"register a unit adapter '{kind.__name__}' in mman.registry" in str(found.value)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv(), nn.BatchNorm2d(4), nn.ReLU(), conv())

    def forward(self, x):
        return x + self.body(x)


class Stage(nn.Module):
    """No Sequential, but called in a row."""

    def __init__(self, *blocks):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class Wrapper(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.net = nn.Sequential(*layers)

    def forward(self, x):
        return (self.net(x),)


def test_containers_are_opened_and_residual_blocks_are_not():
    net = Wrapper(conv(3), nn.Sequential(Residual(), Residual()), Stage(Residual(), Residual()))
    assert layout(net) == {
        'stem': ['net.0'],
        '1.0': ['net.1.0'],
        '1.1': ['net.1.1'],
        '2.0': ['net.2'],
    }
    opened = layout(net, stages=['net.2'])
    assert list(opened) == ['stem', '1.0', '1.1', '2.0', '2.1']
    assert opened['2.1'] == ['net.2.blocks.1']


def test_units_of_one_stage_are_numbered_together_across_parents():
    inner = nn.Sequential(nn.Sequential(conv()), nn.Sequential(Residual(), Residual()))
    net = Wrapper(conv(3), inner)
    assert list(layout(net)) == ['stem', '1.0', '2.0', '2.1']
    assert list(layout(net, stages=['net.1'])) == ['stem', '1.0', '1.1', '1.2']


def test_what_has_no_kernel_goes_with_the_layer_before():
    net = Wrapper(
        nn.BatchNorm2d(3),
        *(conv(3), nn.BatchNorm2d(4), nn.PReLU(4), nn.MaxPool2d(2)),
        *(conv(), nn.Identity(), nn.Dropout()),
    )
    assert layout(net) == {
        'stem': [f'net.{i}' for i in range(5)],
        '1.0': ['net.5', 'net.6', 'net.7'],
    }


class Writing(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, x):
        return self.conv(x.relu_())


def test_what_writes_into_its_input_begins_no_unit():
    """A head is given that input too."""
    assert layout(Wrapper(conv(3), Writing(), conv())) == {
        'stem': ['net.0', 'net.1'],
        '1.0': ['net.2'],
    }


class Turned(nn.Module):
    """A convolution between (N, H, W, C)."""

    def __init__(self, inputs, first=False):
        super().__init__()
        self.conv, self.first = conv(inputs), first

    def forward(self, x):
        return self.conv(x if self.first else x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Back(Turned):
    def forward(self, x):
        return self.conv(x.permute(0, 3, 1, 2))


def test_maps_with_channels_last_end_a_unit_only_where_they_are_said_to_be():
    net = Wrapper(Turned(3, first=True), Turned(4), Back(4), conv())
    assert layout(net) == {'stem': ['net.0', 'net.1', 'net.2'], '1.0': ['net.3']}
    assert list(layout(Wrapper(Turned(3, True), Turned(4)), channels_last=True)) == ['stem', '1.0']


@pytest.mark.parametrize('shape', [(3, 60, 40), (3, 41, 59)])
def test_maps_that_are_not_square_end_units_too(shape):
    layers = [nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, 2, 1)]
    assert len(sequential_units(Wrapper(*layers), shape)) == 3


def test_looking_leaves_no_trace():
    net = Wrapper(conv(3), nn.BatchNorm2d(4), nn.Dropout(), conv()).eval()
    net.net[2].train()
    before = copy.deepcopy(net.state_dict())
    state = torch.get_rng_state()
    sequential_units(net, (3, 8, 8))
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert [m.training for m in net.net] == [False, False, True, False]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_a_fake_copy_has_the_same_units_over_its_own_modules():
    net = Wrapper(conv(3), Residual(), Residual())
    with fake_copy(net) as copied:
        units = sequential_units(copied, (3, 8, 8))
        assert units[1].parts['net.1'] is copied.net[1]
    assert [unit.name for unit in units] == list(layout(net))


def test_a_user_cuts_a_network_of_theirs_in_one_line(monkeypatch):
    monkeypatch.setitem(
        UNIT_ADAPTERS.module_dict, 'Wrapper', lambda net: sequential_units(net, (3, 8, 8))
    )
    net = Wrapper(conv(3), Residual())
    units = find_adapter(net)(net)
    assert all(isinstance(unit, Unit) for unit in units)
    assert [list(unit.parts) for unit in units] == [['net.0'], ['net.1']]
