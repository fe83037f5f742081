"""As much of a Runner as hooks and a training step need."""

import logging
from types import SimpleNamespace

from mmengine.optim import build_optim_wrapper

SGD = dict(type='SGD', lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)


def make_runner(model, hooks=(), optimizer=SGD, max_iters=100, **optim_wrapper):
    """A model with its per-block optimizers and hooks, ready for ``step``."""
    wrapper = build_optim_wrapper(
        model,
        {
            'type': 'BlockOptimWrapper',
            'constructor': 'BlockOptimWrapperConstructor',
            'optimizer': optimizer,
            **optim_wrapper,
        },
    )
    wrapper.initialize_count_status(model, 0, max_iters)
    runner = SimpleNamespace(
        model=model,
        optim_wrapper=wrapper,
        hooks=list(hooks),
        iter=0,
        max_iters=max_iters,
        logger=logging.getLogger('stand_in_runner'),
    )
    for hook in runner.hooks:
        hook.before_train(runner)
    return runner


def step(runner, data):
    """One training iteration, hooks included; returns the log variables."""
    log_vars = runner.model.train_step(data, runner.optim_wrapper)
    for hook in runner.hooks:
        hook.after_train_iter(runner, batch_idx=runner.iter, data_batch=data, outputs=log_vars)
    runner.iter += 1
    return log_vars
