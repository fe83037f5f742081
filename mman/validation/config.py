"""Every part of a config, checked before anything is built."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.device import get_device
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop
from mmengine.runner.priority import get_priority
from mmpretrain.engine import EMAHook
from torch.utils.data import DataLoader

from mman.engine.fault_tolerance import FAULT_TOLERANCE_HOOKS, RUNNER_HOOKS
from mman.utils import UserError, should_be
from mman.utils.signature import signature_of

from .components import Components
from .optimizers import check_optim_wrapper, schedulers_of
from .top_level import check_surroundings, check_top_level, near_miss
from .values import check_call

# Keys of dicts with a type, and the type where there is none.
_TYPED = {
    'data_preprocessor': 'ClsDataPreprocessor',
    'visualizer': None,
    'log_processor': 'LogProcessor',
    'model_wrapper_cfg': 'MMDistributedDataParallel',
}
_AMP_DEVICES = ('cuda', 'npu', 'mlu', 'musa')
_HOOK_NAMES = {'block_log', 'checkpoint_guard', 'buffer_sync', 'class_count', 'pipeline'}
_HOOK_NAMES.update(RUNNER_HOOKS, FAULT_TOLERANCE_HOOKS)
_BUILT = ('dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn')
# The Runner hands the rest to torch.
_LOADER = (*_BUILT, 'num_batch_per_epoch', 'disable_subprocess_warning')


def check_config(cfg: Config) -> None:
    """Refuse what the classes of a config would not take, by name and before data is read.

    Keys are held against the constructors of the registered classes, values
    against what these say, numbers against their ranges. What only building
    shows is left to :func:`dry_run`.

    Raises:
        UserError: Names the key, its value and what would be right.
    """
    tree = cfg.to_dict()
    check_top_level(tree)
    check_surroundings(tree)
    components = Components(tree.get('default_scope'))
    if not tree.get('model'):
        raise UserError(f'model={tree.get("model")!r} is missing: a dict with the network')
    components.check(tree['model'], 'model')
    for key, default in _TYPED.items():
        if tree.get(key) is not None:
            components.check(tree[key], key, default=default)
    for split in ('train', 'val', 'test'):
        _check_split(tree, split, components)
    if tree.get('optim_wrapper') is not None:
        check_optim_wrapper(tree['optim_wrapper'], components, 'splitter' in tree['model'])
    if tree.get('param_scheduler') in ([], {}):
        raise UserError(f'param_scheduler={tree["param_scheduler"]!r} is empty: leave it out')
    for where, one in schedulers_of(tree.get('param_scheduler') or ()):
        components.check(one, where, ('convert_to_iter_based',))
        if not isinstance(one.get('convert_to_iter_based', False), bool):
            where = f'{where}.convert_to_iter_based'
            raise should_be(where, one['convert_to_iter_based'], 'True or False')
    _check_hooks(tree, components)


def check_training(cfg: Config) -> None:
    """Refuse a config that lacks what training needs, or has what local blocks cannot have."""
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        if cfg.get(key) is None:
            raise UserError(f'{key} is missing: training needs it')
    if cfg.get('activation_checkpointing') is not None:
        # It would update running statistics twice a step.
        raise UserError(
            f'activation_checkpointing={cfg.activation_checkpointing!r} is not for local blocks: '
            "leave it out and set model.recompute, to 'block' or 'all' for instance"
        )


def check_amp(cfg: Config) -> None:
    """Refuse mixed precision that the device cannot do, before anything is built.

    Without an accelerator that is mmengine's wrapper, and float16 in local blocks.
    """
    wrapper = cfg.get('optim_wrapper') or {}
    kind = class_name(wrapper.get('type', ''))
    half = kind == 'BlockAmpOptimWrapper' and wrapper.get('dtype', 'float16') == 'float16'
    device = get_device()
    if device in _AMP_DEVICES or not (half or kind == 'AmpOptimWrapper'):
        return
    what = f'optim_wrapper.type={kind!r} (--amp)'
    remedy = 'train without it'
    if half:
        what += " with dtype='float16'"
        remedy += ", or with dtype='bfloat16'"
    raise UserError(
        f'{what} needs one of {", ".join(_AMP_DEVICES)}, but the device is {device!r}; {remedy}'
    )


def class_name(kind: Any) -> str:
    """Name without the scope of a registered class."""
    return getattr(kind, '__name__', str(kind)).split('.')[-1]


def _check_split(tree: Mapping, split: str, components: Components) -> None:
    """The loader, the loop and the evaluator of one split, which go together."""
    loader, loop, metrics = f'{split}_dataloader', f'{split}_cfg', f'{split}_evaluator'
    keys = [loader, loop, 'optim_wrapper' if split == 'train' else metrics]
    missing = [key for key in keys if tree.get(key) is None]
    if 0 < len(missing) < len(keys):
        raise UserError(
            f'{missing[0]} is missing: {", ".join(keys)} go together, all of them or none'
        )
    if missing:
        return
    sampler = _check_loader(tree[loader], loader, components)
    default, taken = f'{split.title()}Loop', ()
    if split == 'train' and 'type' not in tree[loop]:
        by_epoch = tree[loop].get('by_epoch')
        if not isinstance(by_epoch, bool):
            right = f'True or False, or {loop}.type the name of a loop'
            raise should_be(f'{loop}.by_epoch', by_epoch, right)
        default, taken = f'{"Epoch" if by_epoch else "Iter"}BasedTrainLoop', ('by_epoch',)
    kind = components.check(tree[loop], loop, taken, default)
    for pair in tree[loop].get('dynamic_intervals') or ():
        if not (isinstance(pair, tuple) and len(pair) == 2 and min(pair) >= 0 < pair[1]):
            right = 'a list of tuples (first epoch or iteration, interval from 1 on)'
            raise should_be(f'{loop}.dynamic_intervals', tree[loop]['dynamic_intervals'], right)
    if _is(sampler, InfiniteSampler) and _is(kind, EpochBasedTrainLoop, ValLoop, TestLoop):
        remedy = ', or train_cfg.by_epoch=False' if split == 'train' else ''
        raise UserError(
            f'{loader}.sampler.type={tree[loader]["sampler"]["type"]!r} never ends, and '
            f"{kind.__name__} waits for its end: take 'DefaultSampler'{remedy}"
        )
    if split != 'train':
        _check_evaluator(tree[metrics], metrics, components, tree['model'].get('head'))


def _is(kind: Any, *classes: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, classes)


def _check_loader(loader: Mapping, where: str, components: Components) -> Any:
    """Check a loader; the class of its sampler."""
    check_call(loader, where, DataLoader, extra=_LOADER)
    if loader.get('batch_sampler') is None and loader.get('batch_size') is None:
        raise UserError(f'{where}.batch_size is missing: the images of a batch on each process')
    kinds = {}
    for key in _BUILT:
        needed = key in ('dataset', 'sampler') or (key in loader and key != 'batch_sampler')
        if needed or loader.get(key) is not None:
            kinds[key] = components.check(loader.get(key), f'{where}.{key}')
    return kinds['sampler']


def _check_evaluator(value: Any, where: str, components: Components, head: Any) -> None:
    if isinstance(value, Mapping) and 'metrics' in value:
        components.check(value, where, default='Evaluator')
        value, where = value['metrics'], f'{where}.metrics'
    classes = head.get('num_classes') if isinstance(head, Mapping) else None
    for number, metric in enumerate(value if isinstance(value, (list, tuple)) else [value]):
        path = f'{where}[{number}]' if isinstance(value, (list, tuple)) else where
        components.check(metric, path)
        topk = metric.get('topk', 1) if isinstance(metric, Mapping) else 1
        for k in topk if isinstance(topk, (tuple, list)) and topk else (topk,):
            if type(k) is not int or k < 1:
                raise UserError(f'{path}.topk={topk!r} should have integers from 1 on')
            if isinstance(classes, int) and k > classes:
                raise UserError(
                    f'{path}.topk has {k}, which is more than the {classes} classes of '
                    'model.head.num_classes'
                )


def _check_hooks(tree: Mapping, components: Components) -> None:
    hooks = {f'custom_hooks[{n}]': h for n, h in enumerate(tree.get('custom_hooks') or ())}
    for name, hook in (tree.get('default_hooks') or {}).items():
        meant = None if name in _HOOK_NAMES else near_miss(str(name), sorted(_HOOK_NAMES))
        if meant is not None:
            raise UserError(f'default_hooks has the unknown key {name!r}: did you mean {meant!r}?')
        if hook is not None:
            hooks[f'default_hooks.{name}'] = hook
    for where, hook in hooks.items():
        components.check(hook, where, ('priority',))
        if not isinstance(hook, Mapping):
            continue
        if class_name(hook['type']) == 'EMAHook':
            # It gives the keys it does not know itself to the class of its ema_type.
            own = {'priority', *signature_of(EMAHook).parameters}
            average = {key: item for key, item in hook.items() if key not in own}
            average['type'] = hook.get('ema_type', 'ExponentialMovingAverage')
            components.check(average, where)
        try:
            get_priority(hook.get('priority', 'NORMAL'))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            right = 'an integer from 0 to 100 or a name such as NORMAL'
            raise should_be(f'{where}.priority', hook['priority'], right) from error
