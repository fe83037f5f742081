_base_ = ['../_base_/models/cifar_resnet.py', '../_base_/recipes/svhn_400e.py']
