_base_ = [
    '../_base_/models/resnet_imagenet.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_bs1024_90e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(depth=34),
    head=dict(in_channels=512),
)
