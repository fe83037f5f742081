_base_ = ['../_base_/models/manpp.py', '../_base_/recipes/cifar10_400e.py']

model = dict(
    backbone=dict(depth=110),
    splitter=dict(num_blocks=32),
)
