_base_ = ['../_base_/models/manpp_k9_release.py', '../_base_/recipes/cifar10_400e.py']
