_base_ = [
    '../_base_/models/resnet_imagenet.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/sgd_bs1024_90e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(type='ResNeXt', groups=32, width_per_group=8))
