"""Registries of mman: a child of every registry of mmpretrain, and two own.

A short name such as ``'ResNet'`` or ``'Accuracy'`` in a config is looked up
here first, then in mmpretrain, then in mmengine. A parent's modules are found
only once they are imported, so the modules named in ``locations`` import them.
"""

from mmengine.registry import Registry, init_default_scope
from mmpretrain import registry as _parents


def _child(name: str, *locations: str) -> Registry:
    parent = getattr(_parents, name)
    return Registry(parent.name, parent=parent, scope='mman', locations=list(locations))


RUNNERS = _child('RUNNERS', 'mman.engine')
RUNNER_CONSTRUCTORS = _child('RUNNER_CONSTRUCTORS', 'mman.engine')
LOOPS = _child('LOOPS', 'mman.engine')
HOOKS = _child('HOOKS', 'mman.engine')
LOG_PROCESSORS = _child('LOG_PROCESSORS', 'mman.engine')
OPTIMIZERS = _child('OPTIMIZERS', 'mman.engine')
OPTIM_WRAPPERS = _child('OPTIM_WRAPPERS', 'mman.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child('OPTIM_WRAPPER_CONSTRUCTORS', 'mman.engine')
PARAM_SCHEDULERS = _child('PARAM_SCHEDULERS', 'mman.engine')
DATASETS = _child('DATASETS', 'mman.datasets')
DATA_SAMPLERS = _child('DATA_SAMPLERS', 'mman.datasets')
TRANSFORMS = _child('TRANSFORMS', 'mman.datasets')
MODELS = _child('MODELS', 'mman.models')
MODEL_WRAPPERS = _child('MODEL_WRAPPERS', 'mman.engine')
WEIGHT_INITIALIZERS = _child('WEIGHT_INITIALIZERS', 'mman.models')
BATCH_AUGMENTS = _child('BATCH_AUGMENTS', 'mman.models')
TASK_UTILS = _child('TASK_UTILS', 'mman.models')
TOKENIZER = _child('TOKENIZER', 'mman.models')
METRICS = _child('METRICS', 'mman.engine')
EVALUATORS = _child('EVALUATORS', 'mman.engine')
VISUALIZERS = _child('VISUALIZERS', 'mman.engine')
VISBACKENDS = _child('VISBACKENDS', 'mman.engine')

# Functions that list the units of a backbone, by the name of its class.
UNIT_ADAPTERS = Registry('unit adapter', scope='mman', locations=['mman.models'])
# Functions that copy a unit for another input, by the name of its class.
UNIT_REBUILDERS = Registry('unit rebuilder', scope='mman', locations=['mman.models'])


def register_all_modules() -> None:
    """Import every module of mman that registers something and make 'mman' the default scope.

    A Runner whose config says ``default_scope = 'mman'`` does both by itself.
    Call this before building models or datasets without a Runner: mmpretrain's
    classifiers look their parts up in the default scope.
    """
    for registry in (MODELS, DATASETS, HOOKS):
        registry.import_from_location()
    init_default_scope('mman')
