"""A real mmengine Runner on a few digits."""

import itertools

import pytest
from mmengine.runner import Runner

from tests.helpers.settings import model_cfg

_numbers = itertools.count()


def small_model(method='greedy', **splitter):
    """Config of a small model of 8 x 8 images."""
    return model_cfg(method, size=8, **splitter)


@pytest.fixture
def build_runner(tmp_path):
    """``build_runner(model, ...)`` makes a Runner of ``images`` digits in batches of 8."""

    def build(model, epochs=1, images=24, hooks=(), work_dir='run', optim_wrapper=None, **kwargs):
        name = f'{tmp_path.name}-{next(_numbers)}'
        cfg = dict(
            model=model,
            work_dir=str(tmp_path / work_dir),
            experiment_name=name,
            default_scope='mman',
            train_dataloader=dict(
                batch_size=8,
                num_workers=0,
                collate_fn=dict(type='default_collate'),
                sampler=dict(type='DefaultSampler', shuffle=True),
                dataset=dict(type='Digits', indices=images, pipeline=[dict(type='PackInputs')]),
            ),
            optim_wrapper=dict(
                type='BlockOptimWrapper',
                constructor='BlockOptimWrapperConstructor',
                **dict(
                    dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
                    **(optim_wrapper or {}),
                ),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            visualizer=dict(
                type='UniversalVisualizer', name=name, vis_backends=[dict(type='LocalVisBackend')]
            ),
            custom_hooks=list(hooks),
            log_level='INFO',
            randomness=dict(seed=0),
        )
        return Runner(**{**cfg, **kwargs})

    return build
