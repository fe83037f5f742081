_base_ = ['../_base_/models/man_dgl.py', '../_base_/recipes/stl10_400e.py']

model = dict(
    backbone=dict(depth=110),
    splitter=dict(num_blocks=55, stem='own'),
    input_shape=(3, 96, 96),
)
