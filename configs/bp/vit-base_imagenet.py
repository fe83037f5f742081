_base_ = [
    '../_base_/models/vit_imagenet.py',
    '../_base_/datasets/imagenet_bs128.py',
    '../_base_/schedules/adamw_bs128_90e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(arch='deit-base'),
    head=dict(in_channels=768),
)
