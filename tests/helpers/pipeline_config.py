# As survival_config.py without what a pipeline refuses, in four blocks.
_base_ = 'survival_config.py'

model = dict(
    splitter=dict(num_blocks=4),
    head=dict(_delete_=True, type='LinearClsHead', num_classes=10, in_channels=64),
)
optim_wrapper = dict(accumulative_counts=4)
custom_hooks = [
    dict(type='MomentumUpdateHook', decay=0.9, end_decay=0.99),
    dict(type='InterruptHook'),
]
default_hooks = dict(checkpoint=dict(save_best='accuracy/top1'), block_log=dict(interval=1))
model_wrapper_cfg = dict(_delete_=True, type='mman.engine.wrappers.LocalPipelineParallel', stages=2)
