_base_ = ['../_base_/models/cifar_resnet.py', '../_base_/recipes/cifar10-16px_15e.py']

model = dict(backbone=dict(depth=20), input_shape=(3, 16, 16))
