_base_ = ['../_base_/models/man_k15_release.py', '../_base_/recipes/cifar10_400e.py']
