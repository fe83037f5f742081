_base_ = ['../_base_/models/man_imagenet.py', '../_base_/recipes/imagenet_90e.py']

model = dict(
    backbone=dict(depth=18),
    splitter=dict(num_blocks=2),
    head=dict(in_channels=512),
)
