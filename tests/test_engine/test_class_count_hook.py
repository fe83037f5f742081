"""A model is not trained on a data set with another number of classes."""

from types import SimpleNamespace

import pytest
from mmpretrain.evaluation import Accuracy

from mman.engine.hooks import ClassCountHook
from mman.utils import UserError


def _loop(classes=None, topk=None):
    metainfo = {} if classes is None else dict(classes=('a', 'b', 'c', 'd')[:classes])
    metrics = [] if topk is None else [Accuracy(topk=topk)]
    return SimpleNamespace(
        dataloader=SimpleNamespace(dataset=SimpleNamespace(metainfo=metainfo)),
        evaluator=SimpleNamespace(metrics=metrics),
    )


def _runner(**loops):
    model = SimpleNamespace(head=SimpleNamespace(num_classes=3))
    empty = dict(train_loop=_loop(), val_loop=None, test_loop=_loop())
    return SimpleNamespace(model=model, **{**empty, **loops})


@pytest.mark.parametrize(
    ('loops', 'message'),
    [
        (dict(train_loop=_loop(2)), 'num_classes=3 should be 2, .* of train_dataloader.dataset'),
        (dict(train_loop=_loop(3), val_loop=_loop(4)), 'should be 4, .* of val_dataloader'),
    ],
)
def test_training_is_refused(loops, message):
    with pytest.raises(UserError, match=message):
        ClassCountHook().before_train(_runner(**loops))


def test_testing_is_refused():
    with pytest.raises(UserError, match='should be 4, .* of test_dataloader.dataset'):
        ClassCountHook().before_test(_runner(test_loop=_loop(4)))


def test_what_fits_or_does_not_say_is_let_through():
    runner = _runner(train_loop=_loop(3), val_loop=_loop(None, topk=(1, 3)), test_loop=_loop(3))
    ClassCountHook().before_train(runner)
    ClassCountHook().before_test(runner)
