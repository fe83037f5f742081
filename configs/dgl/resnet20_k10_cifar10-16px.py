_base_ = ['../_base_/models/dgl.py', '../_base_/recipes/cifar10-16px_15e.py']

model = dict(
    backbone=dict(depth=20),
    splitter=dict(num_blocks=10, stem='own'),
    input_shape=(3, 16, 16),
)
