"""Which keys a class takes, and whether a value may stand for one."""

import math
from collections.abc import Callable, Sequence
from inspect import Parameter

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from mman.utils.signature import signature_of
from mman.utils.value_type import fits, type_problem


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


def test_torch_modules_take_no_keys_of_their_own():
    assert not signature_of(nn.ReLU).open
    assert list(signature_of(nn.ReLU).parameters) == ['inplace']


def test_annotations_are_objects_even_where_one_of_them_cannot_be_evaluated():
    assert signature_of(DataLoader).parameters['num_workers'].annotation is int


def test_a_function_is_taken_as_it_is():
    found = signature_of(torch.nn.utils.clip_grad_norm_)
    assert {'max_norm', 'norm_type'} <= set(found.parameters)


@pytest.mark.parametrize(
    ('value', 'annotation', 'right'),
    [
        (3, int, True),
        (True, int, False),
        (2.5, int, False),
        ('3', int, False),
        (3, float, True),
        (None, float, False),
        (None, float | None, True),
        ({}, float | None, False),
        ([1, 2], Sequence[int], True),
        ([1, 'a'], Sequence[int], False),
        ('ab', Sequence[str], False),
        ([1, 2], tuple[int, ...], True),
        (1, bool, True),
        (5, bool, False),
        (dict(a=1), dict, True),
        (dict(type='ReLU'), nn.Module, True),
        ('ReLU', nn.Module, False),
        (3, Callable, False),
    ],
)
def test_a_value_fits_its_annotation(value, annotation, right):
    assert fits(value, annotation) is right


def parameter(default=Parameter.empty, annotation=Parameter.empty):
    return Parameter('key', Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


@pytest.mark.parametrize(
    ('value', 'default', 'right'),
    [
        ('a', 1, False),
        (None, 1, False),
        ([1, 2], 1, True),
        (2.5, 1, True),
        (5, 'a', False),
        (['a'], 'a', True),
        (5, False, False),
        (math.nan, None, False),
        ('a', None, True),
    ],
)
def test_without_an_annotation_the_default_decides(value, default, right):
    assert (type_problem(value, parameter(default)) is None) is right


def test_loose_annotations_let_lists_and_fractions_pass():
    key = parameter(1, int)
    assert type_problem([1, 2], key) is not None
    assert type_problem([1, 2], key, exact=False) is None
    assert type_problem(2.5, key, exact=False) is None
    assert type_problem('2', key, exact=False) is not None
    assert type_problem(['2'], key, exact=False) is not None
    assert type_problem(math.nan, key, exact=False) is not None
