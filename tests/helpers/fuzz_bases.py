"""Configs to be spoilt: real ones, on a few digits and with small networks."""

import copy
from functools import cache
from pathlib import Path

import torch
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]

_RESNET = dict(type='CIFARResNet', depth=20, widths=[4, 4, 8, 16], frozen_stages=-1)
_HEAD = dict(
    type='LinearClsHead',
    num_classes=10,
    in_channels=16,
    init_cfg=None,
    loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    topk=[1],
    cal_acc=False,
)
_VIT = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=8, num_layers=4, num_heads=2, feedforward_channels=16),
    img_size=8,
    patch_size=4,
    drop_rate=0.0,
    final_norm=True,
)


def _dataset(split: str, **kwargs) -> dict:
    return dict(type='Digits', split=split, indices=16, **kwargs)


def _loaders(train: dict, test: dict, collate: str = 'default_collate') -> dict:
    def loader(dataset: dict, shuffle: bool) -> dict:
        return dict(
            batch_size=8,
            drop_last=shuffle,
            num_workers=0,
            persistent_workers=False,
            collate_fn=dict(type=collate),
            sampler=dict(type='DefaultSampler', shuffle=shuffle),
            dataset=dataset,
        )

    return dict(
        train_dataloader=loader(train, True),
        val_dataloader=loader(test, False),
        test_dataloader=loader(test, False),
    )


_PIPELINE = [dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]
_PER_IMAGE = _loaders(
    _dataset('train', pipeline=_PIPELINE), _dataset('test', pipeline=[dict(type='PackInputs')])
)
_IN_MEMORY = _loaders(
    dict(type='InMemoryDataset', max_gib=1.0, dataset=_dataset('train')),
    dict(type='InMemoryDataset', dataset=_dataset('test')),
    collate='in_memory_collate',
)
_LARGE = _loaders(
    _dataset('train', image_size=32, channels=3, pipeline=[dict(type='PackInputs')]),
    _dataset('test', image_size=32, pipeline=[dict(type='PackInputs')]),
)


def _model(aux_head: dict | None, backbone: dict = _RESNET, **kwargs) -> dict:
    blocks = 1 if aux_head is None else 3
    model = dict(
        type='LocalImageClassifier',
        backbone=backbone,
        splitter=dict(type='LocalBlockSplitter', num_blocks=blocks, strategy='uniform'),
        input_shape=[3, 8, 8],
        neck=dict(type='GlobalAveragePooling'),
        head=_HEAD,
    )
    if aux_head is not None:
        model['aux_head'] = aux_head
    return {**model, **kwargs}


def _momentum(mix: str, host: dict, **kwargs) -> dict:
    return dict(type='MomentumAuxHead', mix=mix, host=host, **kwargs)


_INFOPRO = dict(
    type='InfoProAuxHead', task_loss='cross_entropy', net='1c1f', reconstruction_weight=1.0,
    task_weight=dict(first=0.5, last=1.0), widen=0.5, feature_dim=16, temperature=0.07,
    decoder='factored',
)  # fmt: skip
_MOMENTUM_HOOK = dict(
    type='MomentumUpdateHook', decay=0.9, timing='post_step', end_decay=0.99, schedule='cosine'
)


def _sgd(**kwargs) -> dict:
    optimizer = dict(type='SGD', lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    return dict(
        type='BlockOptimWrapper',
        constructor='BlockOptimWrapperConstructor',
        optimizer=optimizer,
        **kwargs,
    )


# name -> (config of the repository, what replaces its parts)
_RECIPES = {
    'man': ('man/resnet20_k10_digits.py', dict(
        model=_model(
            _momentum('sum', _INFOPRO, bias_units=1, momentum_init='source', bias_init='random'),
            recompute='block', memory_format='contiguous',
        ),
        custom_hooks=[_MOMENTUM_HOOK], auto_scale_lr=dict(base_batch_size=64, enable=True),
        my_own_variable=3, **_PER_IMAGE)),
    'manpp-dgl': ('man/resnet20_k10_digits.py', dict(
        model=_model(_momentum('scaled', dict(type='DGLAuxHead', variant='manpp', weight=1.0))),
        custom_hooks=[_MOMENTUM_HOOK, dict(type='EMAHook', momentum=0.1, priority='NORMAL')],
        optim_wrapper=_sgd(
            clip_grad=dict(max_norm=5.0, norm_type=2),
            accumulative_counts=2,
            paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys={'head': dict(lr_mult=0.5)}),
            blocks={'0': dict(optimizer=dict(lr=0.01))},
        ),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=1,
                 convert_to_iter_based=True),
            dict(type='MultiStepLR', milestones=[1, 2], gamma=0.1, by_epoch=True),
        ],
        default_hooks=dict(finite_guard=dict(type='FiniteGuardHook', policy='lower_rate',
                                             factor=0.5, interval=1)),
        **_PER_IMAGE)),
    'infopro': ('bp/resnet20_digits.py', dict(
        model=_model(dict(_INFOPRO, task_loss='contrast', task_weight=[0.5, 1.0])),
        train_cfg=dict(by_epoch=False, max_iters=2, val_interval=2, val_begin=1),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=2, eta_min=0.0, by_epoch=False),
        log_processor=dict(by_epoch=False, window_size=10, num_digits=4), **_PER_IMAGE)),
    'greedy-in-memory': ('bp/resnet20_digits.py', dict(
        model=_model(dict(type='LinearAuxHead', weight=1.0, norm=dict(type='LN', eps=1e-6))),
        data_preprocessor=dict(
            type='BatchAugmentDataPreprocessor', num_classes=10, mean=[78.0] * 3, std=[96.0] * 3,
            augments=[dict(type='BatchRandomCrop', padding=1, padding_mode='constant', pad_val=0),
                      dict(type='BatchRandomFlip', prob=0.5)],
        ),
        optim_wrapper=dict(_sgd(), optimizer=dict(
            type='AdamW', lr=1e-3, betas=[0.9, 0.99], eps=1e-8, weight_decay=0.05, amsgrad=False)),
        **_IN_MEMORY)),
    'predsim-amp': ('bp/resnet20_digits.py', dict(
        model=_model(dict(type='PredSimAuxHead', similarity_weight=0.9, prediction_weight=0.1,
                          similarity_std=True, pooled_features=32)),
        optim_wrapper=dict(_sgd(), type='BlockAmpOptimWrapper', dtype='bfloat16',
                           overflow='per_block'),
        **_PER_IMAGE)),
    'auglocal': ('bp/resnet20_digits.py', dict(
        model=_model(dict(type='AugLocalAuxHead', depth=2, tau=0.5, weight=1.0),
                     splitter=dict(type='LocalBlockSplitter', ends=['1.2', [2, 2], '3.2'])),
        optim_wrapper=dict(_sgd(), optimizer=dict(type='RMSprop', lr=1e-3, alpha=0.99)),
        param_scheduler=dict(type='RampCosineLR', ramp_epochs=2, ramp_start=0.01),
        **_PER_IMAGE)),
    'bp': ('bp/resnet20_digits.py', dict(
        model=_model(None, backbone=dict(_RESNET, frozen_stages=1)),
        param_scheduler=dict(type='PolyLR', power=0.9, eta_min=1e-4, by_epoch=True), **_PER_IMAGE)),
    'vit': ('bp/resnet20_digits.py', dict(
        model=_model(
            _momentum('scaled', dict(type='LinearAuxHead', norm=dict(type='LN')), bias_units=1),
            backbone=_VIT, neck=None,
            head=dict(type='VisionTransformerClsHead', num_classes=10, in_channels=8),
        ),
        custom_hooks=[dict(type='MomentumUpdateHook', decay=0.99)],
        optim_wrapper=dict(_sgd(), optimizer=dict(type='AdamW', lr=1e-3)), **_PER_IMAGE)),
    'torchvision': ('bp/resnet20_digits.py', dict(
        model=_model(dict(type='DGLAuxHead'), input_shape=[3, 32, 32],
                     backbone=dict(type='TorchvisionBackbone', name='shufflenet_v2_x0_5'),
                     head=dict(type='LinearClsHead', num_classes=10, in_channels=1024)),
        **_LARGE)),
    'timm': ('bp/resnet20_digits.py', dict(
        model=_model(dict(type='LinearAuxHead'), input_shape=[3, 32, 32],
                     backbone=dict(type='TIMMBackbone', model_name='resnet10t', pretrained=False,
                                   features_only=False),
                     head=dict(type='LinearClsHead', num_classes=10, in_channels=512)),
        **_LARGE)),
    'memory-budget': ('bp/resnet20_digits.py', dict(
        model=_model(dict(type='LinearAuxHead')),
        memory_budget=dict(gib=1.0, num_blocks=[2], recompute=['none']), **_PER_IMAGE)),
    'pretrained': ('bp/resnet20_digits.py', dict(
        model=_model(dict(type='LinearAuxHead')),
        pretrained=dict(checkpoint='plain.pth', source='mmpretrain', drop_head=True),
        **_PER_IMAGE)),
}  # fmt: skip

NAMES = tuple(_RECIPES)
# Variables of the configs, which the Runner never sees.
_VARIABLES = ('dataset_type', 'train_pipeline', 'test_pipeline', 'vis_backends')


@cache
def _base(name: str) -> Config:
    path, parts = _RECIPES[name]
    cfg = Config.fromfile(ROOT / 'configs' / path)
    hooks = parts.get('default_hooks', {})
    for key, value in parts.items():
        if key != 'default_hooks':
            cfg[key] = copy.deepcopy(value)
    cfg.default_hooks.update(copy.deepcopy(hooks))
    if 'train_cfg' not in parts:
        cfg.train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
    cfg.default_hooks.logger.interval = 1
    cfg.randomness = dict(seed=1, deterministic=False)
    for key in _VARIABLES:
        cfg.pop(key, None)
    return cfg


def base(name: str) -> dict:
    """A config as a tree of dicts and lists, as JSON has them."""
    return _lists(_base(name).to_dict())


def write_plain_weights(path: Path) -> None:
    """The weights that the config 'pretrained' starts from."""
    from mman.registry import MODELS

    model = MODELS.build(dict(_base('bp').to_dict()['model']))
    torch.save(model.state_dict(), path)


def _lists(value):
    if isinstance(value, dict):
        return {str(key): _lists(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_lists(item) for item in value]
    return value
