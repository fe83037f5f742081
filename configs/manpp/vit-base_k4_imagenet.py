_base_ = ['../_base_/models/manpp_vit_imagenet.py', '../_base_/recipes/imagenet_vit_90e.py']

model = dict(
    backbone=dict(arch='deit-base'),
    splitter=dict(num_blocks=4),
    head=dict(in_channels=768),
)
