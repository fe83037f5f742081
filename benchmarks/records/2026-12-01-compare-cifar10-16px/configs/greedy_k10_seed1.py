auto_scale_lr = dict(base_batch_size=128, enable=False)
custom_hooks = []
data_preprocessor = dict(
    augments=[
        dict(padding=2, padding_mode='reflect', type='BatchRandomCrop'),
        dict(prob=0.5, type='BatchRandomFlip'),
    ],
    mean=[
        125.3,
        123.0,
        113.9,
    ],
    num_classes=10,
    std=[
        60.3,
        59.7,
        64.4,
    ],
    to_rgb=False,
    type='BatchAugmentDataPreprocessor',
)
data_root = 'data/cifar10'
dataset_type = 'CIFAR10'
default_hooks = dict(
    block_log=dict(interval=50, type='BlockLogHook'),
    buffer_sync=dict(type='BlockBufferSyncHook'),
    checkpoint=dict(interval=1, max_keep_ckpts=2, type='CheckpointHook'),
    checkpoint_guard=dict(type='CheckpointGuardHook'),
    class_count=dict(type='ClassCountHook'),
    finite_guard=dict(interval=50, policy='stop', type='FiniteGuardHook'),
    logger=dict(interval=10, type='LoggerHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    pipeline=dict(type='PipelineHook'),
    preemption=dict(interval=1, type='PreemptionHook'),
    reproduce=dict(type='ReproduceHook'),
    resume_state=dict(type='ResumeStateHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    timer=dict(type='IterTimerHook'),
)
default_scope = 'mman'
env_cfg = dict(
    cudnn_benchmark=False,
    dist_cfg=dict(backend='nccl', timeout=600),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
)
load_from = None
log_level = 'INFO'
log_processor = dict(by_epoch=True)
model = dict(
    aux_head=dict(type='LinearAuxHead'),
    backbone=dict(depth=20, type='CIFARResNet'),
    head=dict(in_channels=64, init_cfg=None, num_classes=10, type='LinearClsHead'),
    input_shape=(
        3,
        16,
        16,
    ),
    neck=dict(type='GlobalAveragePooling'),
    splitter=dict(num_blocks=10, stem='own', type='LocalBlockSplitter'),
    type='LocalImageClassifier',
)
model_wrapper_cfg = dict(type='mman.engine.wrappers.LocalDistributedDataParallel')
optim_wrapper = dict(
    constructor='BlockOptimWrapperConstructor',
    optimizer=dict(lr=0.3, momentum=0.9, nesterov=True, type='SGD', weight_decay=0.0001),
    type='BlockOptimWrapper',
)
param_scheduler = dict(ramp_epochs=1, ramp_start=0.01, type='RampCosineLR')
randomness = dict(deterministic=False, seed=1)
resume = False
test_cfg = dict()
test_dataloader = dict(
    batch_size=1000,
    collate_fn=dict(type='in_memory_collate'),
    dataset=dict(
        dataset=dict(
            data_root='data/cifar10_jpeg',
            serialize_data=False,
            split='test',
            type='CIFAR10',
            verify=False,
        ),
        pool=2,
        type='InMemoryDataset',
    ),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
test_evaluator = dict(topk=(1,), type='Accuracy')
test_pipeline = []
train_cfg = dict(by_epoch=True, max_epochs=15, val_interval=5)
train_dataloader = dict(
    batch_size=128,
    collate_fn=dict(type='in_memory_collate'),
    dataset=dict(
        dataset=dict(
            data_root='data/cifar10_jpeg',
            serialize_data=False,
            split='train',
            type='CIFAR10',
            verify=False,
        ),
        pool=2,
        type='InMemoryDataset',
    ),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=True, type='DefaultSampler'),
)
train_pipeline = []
val_cfg = dict()
val_dataloader = dict(
    batch_size=1000,
    collate_fn=dict(type='in_memory_collate'),
    dataset=dict(
        dataset=dict(
            data_root='data/cifar10_jpeg',
            serialize_data=False,
            split='test',
            type='CIFAR10',
            verify=False,
        ),
        pool=2,
        type='InMemoryDataset',
    ),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
val_evaluator = dict(topk=(1,), type='Accuracy')
vis_backends = [
    dict(type='LocalVisBackend'),
]
visualizer = dict(
    type='UniversalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ],
)
