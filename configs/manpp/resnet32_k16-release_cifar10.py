_base_ = ['../_base_/models/manpp_k16_release.py', '../_base_/recipes/cifar10_400e.py']
