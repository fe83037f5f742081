_base_ = ['../_base_/models/resnet_imagenet.py', '../_base_/recipes/imagenet_90e.py']

model = dict(backbone=dict(depth=50))
