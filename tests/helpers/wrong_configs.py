"""Configs as a user may get them wrong, with what their one line must say."""

import copy

from tests.helpers import fuzz_bases

LACKING = object()
_SPLITTER, _OPTIMIZER = 'LocalBlockSplitter', 'optim_wrapper.optimizer'
_PIPELINE, _HOOKS = 'train_dataloader.dataset.pipeline', 'custom_hooks'
_KEYS = 'optim_wrapper.paramwise_cfg.custom_keys'

# Name of a base, changes by dotted key, and a part of the message.
WRONG = [
    # Names and kinds at the top.
    ('man', {'optim_warpper': {}}, "did you mean 'optim_wrapper'?"),
    ('man', {'model': LACKING}, 'model=None is missing'),
    ('man', {'val_evaluator': LACKING}, 'val_evaluator is missing'),
    ('man', {'custom_hooks': {'type': 'EMAHook'}}, 'custom_hooks={'),
    ('man', {'default_scope': 'nope'}, "default_scope='nope' names no package"),
    ('man', {'launcher': 'ssh'}, "launcher='ssh' should be one of none, pytorch"),
    ('man', {'randomness': {'seeed': 1}}, "unknown key 'seeed'"),
    ('man', {'env_cfg': {'mp_cfg': {'mp_start_method': 'thread'}}}, 'mp_start_method'),
    ('man', {'env_cfg': {'dist_cfg': {'timeout': 10**13}}}, 'dist_cfg.timeout=1000'),
    ('man', {'log_processor': {'window_size': 0}}, 'log_processor.window_size=0'),
    ('man', {'model_wrapper_cfg': {'find_unused': True}}, "unknown key 'find_unused'"),
    ('man', {'model_wrapper_cfg.surplus': 1}, "unknown key 'surplus'"),
    ('man', {'model_wrapper_cfg.type': 'mman.engine.wrappers.X'}, 'nor can it be imported'),
    ('man', {'activation_checkpointing': ['layer1']}, 'model.recompute'),
    (
        'man',
        {'optim_wrapper': LACKING, 'optimizer': {}},
        "it is 'optim_wrapper' now",
    ),
    ('man', {'train_cfg': LACKING, 'runner': {}}, "it is 'train_cfg' now"),
    ('man', {'load_from': 'file:///no/such.pth'}, "load_from='file:///no/such.pth' does not exist"),
    ('man', {'load_from': 'pavi://such.pth'}, 'give a local file or a URL'),
    ('man', {'load_from': 'open-mmlab://resnet5'}, 'is no model of open-mmlab, as res'),
    ('man', {'visualizer.vis_backends.0.type': 'NeptuneVisBackend'}, 'pip install neptune'),
    # The network.
    ('man', {'model.backbone.depht': 20}, "did you mean 'depth'?"),
    ('man', {'model.head.num_classes': 0}, 'model.head.num_classes=0'),
    ('man', {'model.head.loss.loss_weight': '2'}, "loss_weight='2'"),
    ('man', {'model.neck': {'type': 'no_module.Neck'}}, 'no_module.Neck'),
    ('man', {'model.splitter': {'type': _SPLITTER, 'ends': ['3.1', '1.2']}}, 'ends='),
    ('man', {'model.splitter.num_blocks': 1000}, 'num_blocks=1000'),
    (
        'man',
        {'model.splitter': {'type': _SPLITTER, 'ends': [1.0]}},
        "a list of strings such as '1.0'",
    ),
    ('man', {'model.head.loss.loss_weight': -1.0}, 'loss_weight=-1.0 should be a number from 0'),
    ('man', {'model.aux_head.host.task_weight': [1, -1]}, 'task_weight=[1, -1] should be'),
    ('man', {'model.aux_head.host.nett': '1c'}, "did you mean 'net'?"),
    ('man', {'model.aux_head.host.task_weight': [1, 2, 3]}, 'there are 2 blocks'),
    ('man', {'model.input_shape': [3, 16, 16]}, 'model.input_shape=(3, 16, 16) differs'),
    # Data.
    ('man', {'train_dataloader.batch_size': 0}, 'train_dataloader.batch_size=0'),
    ('man', {'train_dataloader.batch_size': 17}, 'train_dataloader gives no batch'),
    ('man', {'train_dataloader.num_workers': -1}, 'train_dataloader.num_workers=-1'),
    ('man', {'train_dataloader.pin_memory': 'yes'}, "pin_memory='yes'"),
    ('man', {'train_dataloader.sampler': LACKING}, 'train_dataloader.sampler=None should be'),
    ('man', {'train_dataloader.dataset.indices': [5000]}, 'indices names the sample 5000'),
    ('man', {'train_dataloader.dataset.indices': 1439}, 'more than the 1438 samples'),
    ('man', {'train_dataloader.dataset.per_class': 2}, 'both choose samples'),
    ('man', {'train_dataloader.dataset.split': 'training'}, "split='training'"),
    ('man', {_PIPELINE: [{'type': 'PackInput'}]}, "did you mean 'PackInputs'?"),
    ('man', {_PIPELINE: []}, 'pipeline should end with'),
    ('man', {'val_evaluator': {'type': 'Accuracy', 'topk': [1, 50]}}, 'val_evaluator.topk has 50'),
    ('greedy-in-memory', {'data_preprocessor.std': [0, 0, 0]}, 'data_preprocessor.std='),
    ('greedy-in-memory', {'data_preprocessor.std': [-96.0] * 3}, 'and not below 1'),
    ('greedy-in-memory', {'data_preprocessor.mean': [0.4] * 3}, 'to 255: 102 for 0.4'),
    # Loops, optimizers, schedules.
    ('man', {'train_cfg': {'by_epoch': True, 'max_epochs': '3'}}, "max_epochs='3'"),
    ('man', {'train_cfg': {'by_epoch': True}}, 'train_cfg lacks max_epochs'),
    ('man', {'val_cfg': {'fp17': True}}, "val_cfg has the unknown key 'fp17'"),
    ('man', {f'{_OPTIMIZER}.lr': float('nan')}, f'{_OPTIMIZER}.lr=nan'),
    ('man', {f'{_OPTIMIZER}.lr': 1e38}, 'not finite in three steps'),
    ('man', {f'{_OPTIMIZER}.momentum': 1.5}, f'{_OPTIMIZER}.momentum=1.5 should be at most 1'),
    ('man', {'train_cfg.dynamic_intervals': [[1, 0]]}, 'interval from 1 on'),
    (
        'manpp-dgl',
        {f'{_KEYS}.haed': {'lr_mult': 0.5}},
        "custom_keys has 'haed', but",
    ),
    ('man', {'param_scheduler': {'type': 'StepLR', 'step_size': 1, 'gamma': -1}}, 'gamma=-1'),
    ('bp', {'param_scheduler': {'type': 'ConstantLR', 'factor': -1}}, 'param_scheduler'),
    ('bp', {'param_scheduler': {'type': 'ReduceOnPlateauLR'}}, "monitor='loss' should be a metric"),
    ('man', {f'{_OPTIMIZER}.type': 'Adamm'}, "did you mean 'Adam'?"),
    ('man', {'optim_wrapper.clip_grad': {'max_norm': -1}}, 'clip_grad.max_norm=-1'),
    ('man', {'optim_wrapper.paramwise_cfg': {'norm_decay': 0}}, "unknown key 'norm_decay'"),
    ('man', {'optim_wrapper.blocks': {'0': {'optimizer': {'lr': {}}}}}, 'optim_wrapper'),
    ('man', {'optim_wrapper.blocks': {'12': {}}}, 'optim_wrapper.blocks has the key 12'),
    ('man', {'optim_wrapper.blocks': {'0': {'optimizer': {'lrr': 1}}}}, "unknown key 'lrr'"),
    ('man', {'param_scheduler': [{'type': 'LinearLR', 'begin': 5, 'end': 3}]}, 'end=3'),
    ('infopro', {'param_scheduler': {'type': 'PolyLR', 'power': 'x'}}, "power='x'"),
    # Hooks.
    ('man', {'default_hooks.checkpoint.save_best': 'accuracy/top5'}, 'accuracy/top1'),
    ('bp', {_HOOKS: [{'type': 'EarlyStoppingHook', 'monitor': 'acc'}]}, "monitor='acc' should be"),
    ('man', {_HOOKS: [{'type': 'MomentumUpdateHook'}] * 2}, 'MomentumUpdateHook'),
    ('man', {f'{_HOOKS}.0.decay': 1.0}, 'decay=1.0'),
    ('man', {_HOOKS: []}, "custom_hooks lacks dict(type='MomentumUpdateHook')"),
    ('man', {_HOOKS: [{'decay': 0.9}]}, 'custom_hooks[0] lacks the key type'),
    ('manpp-dgl', {'custom_hooks.1.momentum': 2}, 'momentum=2'),
    ('manpp-dgl', {'custom_hooks.1.momentumm': 0.1}, "unknown key 'momentumm'"),
    ('manpp-dgl', {'custom_hooks.1.priority': 'HIHG'}, "priority='HIHG'"),
    ('man', {'default_hooks.loger': {'type': 'LoggerHook'}}, "did you mean 'logger'?"),
    ('man', {'default_hooks.logger.interval': '10'}, "interval='10'"),
]


def spoilt(base: str, changes: dict) -> dict:
    """A config of :mod:`tests.helpers.fuzz_bases` with some keys changed or left out."""
    tree = copy.deepcopy(fuzz_bases.base(base))
    for path, value in changes.items():
        *parents, key = path.split('.')
        node = tree
        for parent in parents:
            node = node[int(parent)] if isinstance(node, list) else node[parent]
        if value is LACKING:
            del node[key]
        else:
            node[key] = value
    return tree
