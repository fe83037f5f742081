_base_ = ['../_base_/models/vit_imagenet.py', '../_base_/recipes/imagenet_vit_90e.py']

model = dict(
    backbone=dict(arch='deit-tiny'),
    head=dict(in_channels=192),
)
