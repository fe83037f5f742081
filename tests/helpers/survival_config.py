# A training of seconds with everything that is random: shuffling, augmentation, dropout.
_base_ = [
    '../../configs/_base_/models/man.py',
    '../../configs/_base_/datasets/digits.py',
    '../../configs/_base_/default_runtime.py',
]
custom_imports = dict(
    imports=['tests.helpers.noise_transform', 'tests.helpers.interruption'],
    allow_failed_imports=False,
)

model = dict(
    backbone=dict(depth=20),
    splitter=dict(_delete_=True, type='LocalBlockSplitter', num_blocks=2, strategy='uniform'),
    input_shape=(3, 8, 8),
    head=dict(
        _delete_=True,
        type='StackedLinearClsHead',
        num_classes=10,
        in_channels=64,
        mid_channels=[16],
        dropout_rate=0.5,
    ),
)
train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        indices=88,
        pipeline=[
            dict(type='RandomCrop', crop_size=8, padding=1),
            dict(type='ThreefoldNoise'),
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(batch_size=32, dataset=dict(indices=40))
test_dataloader = dict(batch_size=32, dataset=dict(indices=40))
optim_wrapper = dict(
    type='BlockOptimWrapper',
    constructor='BlockOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.05, momentum=0.9),
)
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=True, T_max=3, convert_to_iter_based=True)
# 88 images in batches of 16: five full ones and one of 8.
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=2)
val_cfg = dict()
test_cfg = dict()
custom_hooks = [
    dict(type='MomentumUpdateHook', decay=0.9),
    dict(type='EMAHook', momentum=0.1),
    dict(type='InterruptHook'),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2), logger=dict(interval=1))
