"""Which keys a class takes, and whether a value may stand for one."""

import math
from collections.abc import Callable, Sequence
from inspect import Parameter

import torch
from torch import nn
from torch.utils.data import DataLoader

from mman.utils.signature import signature_of
from mman.validation.values import fits, kind_problem


class Base(nn.Module):
    def __init__(self, width: int, depth: int = 2):
        super().__init__()


class PassesOn(Base):
    def __init__(self, name: str, **kwargs):
        super().__init__(**kwargs)


class Keeps(Base):
    def __init__(self, name: str, **kwargs):
        super().__init__(1)
        self.kwargs = kwargs


def test_keys_are_followed_to_the_class_they_are_handed_to():
    found = signature_of(PassesOn)
    assert list(found.parameters) == ['name', 'width', 'depth']
    assert found.required == {'name'}
    assert not found.open


def test_keys_that_go_elsewhere_leave_the_signature_open():
    found = signature_of(Keeps)
    assert list(found.parameters) == ['name']
    assert found.open


def test_signatures_of_torch():
    assert not signature_of(nn.ReLU).open
    assert list(signature_of(nn.ReLU).parameters) == ['inplace']
    # Another annotation of this class cannot be evaluated.
    assert signature_of(DataLoader).parameters['num_workers'].annotation is int
    found = signature_of(torch.nn.utils.clip_grad_norm_)
    assert {'max_norm', 'norm_type'} <= set(found.parameters)


def test_a_value_fits_its_annotation():
    right = [
        (3, int), (3, float), (None, float | None), ([1, 2], Sequence[int]),
        ([1, 2], tuple[int, ...]), (1, bool), (dict(a=1), dict), (dict(type='ReLU'), nn.Module),
    ]  # fmt: skip
    wrong = [
        (True, int), (2.5, int), ('3', int), (None, float), ({}, float | None),
        ([1, 'a'], Sequence[int]), ('ab', Sequence[str]), (5, bool), ('ReLU', nn.Module),
        (3, Callable),
    ]  # fmt: skip
    assert [case for case in right if not fits(*case)] == []
    assert [case for case in wrong if fits(*case)] == []


def _parameter(default=Parameter.empty, annotation=Parameter.empty):
    return Parameter('key', Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def test_without_an_annotation_the_default_decides():
    right = [([1, 2], 1), (2.5, 1), (['a'], 'a'), ('a', None)]
    wrong = [('a', 1), (None, 1), (5, 'a'), (5, False)]
    assert [c for c in right if kind_problem(c[0], _parameter(c[1])) is not None] == []
    assert [c for c in wrong if kind_problem(c[0], _parameter(c[1])) is None] == []


def test_loose_annotations_let_lists_and_fractions_pass():
    key = _parameter(1, int)
    for value in ([1, 2], 2.5):
        assert kind_problem(value, key) == 'an integer'
        assert kind_problem(value, key, loose=True) is None
    for value in ('2', ['2'], math.nan):
        assert kind_problem(value, key, loose=True) == 'an integer'
    assert kind_problem([], _parameter(True), loose=True) == 'like its default, True'
