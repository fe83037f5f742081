_base_ = ['../_base_/models/infopro.py', '../_base_/recipes/stl10_160e.py']

model = dict(
    backbone=dict(depth=110),
    splitter=dict(num_blocks=55, stem='own'),
    input_shape=(3, 96, 96),
    aux_head=dict(
        reconstruction_weight=dict(first=20.0, last=10.0),
        task_weight=dict(first=0.5, last=0.1),
    ),
)
