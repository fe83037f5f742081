"""The order in which a stage computes and sends, which hides the messages."""

from types import SimpleNamespace
from unittest.mock import Mock

import torch

from mman.engine.pipeline.link import Returned
from mman.engine.pipeline.stage import Stage
from mman.engine.standalone import StandaloneTraining
from tests.helpers.settings import build_model, start_heads

OPTIMIZER = dict(
    type='BlockOptimWrapper',
    constructor='BlockOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.1),
)


def test_features_leave_before_the_head_and_weights_after_the_first_step():
    """Blocks 1 and 2 of four, between two links that note what is asked of them."""
    model, noted = build_model('man-greedy'), Mock()
    start_heads(model)
    wrappers = StandaloneTraining(model, OPTIMIZER).optim_wrapper
    features = torch.randn(2, *model.block_units[0][-1].output_shape)
    noted.up.receive.return_value = dict(features=features, labels=torch.tensor([1, 2])), False
    noted.up.receive_losses.return_value = torch.zeros(2, 4, dtype=torch.float64)
    noted.down.lag = 1
    noted.down.returned.return_value = [Returned(False, ['weights'], 0.5)]
    # Hooks that return something would change what is computed.
    noted.configure_mock(
        **{f'{name}.return_value': None for name in ('units', 'head', 'step', 'average')}
    )
    views = model.local_blocks[1:3]
    for view in views:
        view.layers[0].register_forward_pre_hook(lambda *_, k=view.index: noted.units(k))
        head = model.aux_heads[view.index]
        head.host.fc.register_forward_pre_hook(lambda *_, k=view.index: noted.head(k))
        optimizer = wrappers[view.name].optimizer
        optimizer.register_step_post_hook(lambda *_, k=view.index: noted.step(k))
    stage = Stage(
        model,
        SimpleNamespace(is_last=False, replicas=1),
        range(1, 3),
        views,
        lambda view, wrapper, loss: wrapper.update_params(loss),
        wrappers,
        noted.up,
        noted.down,
        images=False,
    )
    stage.decay, stage.average = lambda: 0.7, noted.average
    stage.step(None)
    assert [name for name, *_ in noted.mock_calls] == [
        *('up.receive', 'units', 'head', 'step', 'up.pack_weights', 'up.answer'),
        *('units', 'down.send', 'down.returned', 'average', 'head', 'step'),
        *('up.receive_losses', 'down.send_losses'),
    ]
    # Weights of the iteration before, and its decay; this one's waits for those that come.
    noted.average.assert_called_once_with(['weights'], 0.5)
    assert noted.down.send.call_args.args[1:] == (False, 0.7)
