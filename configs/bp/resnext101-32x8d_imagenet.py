_base_ = ['../_base_/models/resnet_imagenet.py', '../_base_/recipes/imagenet_90e.py']

model = dict(backbone=dict(type='ResNeXt', groups=32, width_per_group=8))
