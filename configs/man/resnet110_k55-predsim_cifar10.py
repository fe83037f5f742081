_base_ = ['../_base_/models/man_predsim.py', '../_base_/recipes/cifar10_400e.py']

model = dict(
    backbone=dict(depth=110),
    splitter=dict(num_blocks=55, stem='own'),
)
