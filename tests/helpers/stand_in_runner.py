"""A small training, as the tests of hooks and training steps need it."""

from mman.engine.standalone import StandaloneTraining

SGD = dict(type='SGD', lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)


def make_runner(model, hooks=(), optimizer=SGD, max_iters=100, **optim_wrapper):
    """A model with its per-block optimizers and hooks, ready for ``step``."""
    config = {
        'type': 'BlockOptimWrapper',
        'constructor': 'BlockOptimWrapperConstructor',
        'optimizer': optimizer,
        **optim_wrapper,
    }
    return StandaloneTraining(model, config, hooks, max_iters)


def step(runner, data):
    """One training iteration, hooks included; returns the log variables."""
    return runner.step(data)
