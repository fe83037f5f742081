_base_ = ['../_base_/models/infopro_imagenet.py', '../_base_/recipes/imagenet_90e.py']

model = dict(
    backbone=dict(depth=50),
    splitter=dict(num_blocks=4),
)
