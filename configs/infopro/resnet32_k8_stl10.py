_base_ = ['../_base_/models/infopro.py', '../_base_/recipes/stl10_160e.py']

model = dict(
    splitter=dict(num_blocks=8),
    input_shape=(3, 96, 96),
    aux_head=dict(
        reconstruction_weight=dict(first=20.0, last=5.0),
        task_weight=dict(first=0.2, last=1.0),
    ),
)
