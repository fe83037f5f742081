_base_ = ['../_base_/models/cifar_resnet.py', '../_base_/recipes/cifar10_400e.py']
