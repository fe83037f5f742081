_base_ = [
    '../_base_/models/resnet_imagenet.py',
    '../_base_/datasets/image_folder.py',
    '../_base_/schedules/sgd_bs32_30e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(depth=18),
    head=dict(in_channels=512),
)
