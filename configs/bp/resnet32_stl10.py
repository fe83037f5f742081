_base_ = ['../_base_/models/cifar_resnet.py', '../_base_/recipes/stl10_400e.py']

model = dict(input_shape=(3, 96, 96))
