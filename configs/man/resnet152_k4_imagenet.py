_base_ = [
    '../_base_/models/man_imagenet.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_bs1024_90e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(depth=152),
    splitter=dict(num_blocks=4),
)
