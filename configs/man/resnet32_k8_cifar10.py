_base_ = ['../_base_/models/man.py', '../_base_/recipes/cifar10_400e.py']

model = dict(splitter=dict(num_blocks=8))
