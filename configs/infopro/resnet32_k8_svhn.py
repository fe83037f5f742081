_base_ = ['../_base_/models/infopro.py', '../_base_/recipes/svhn_160e.py']

model = dict(
    splitter=dict(num_blocks=8),
    aux_head=dict(
        reconstruction_weight=dict(first=5.0, last=0.5),
        task_weight=dict(first=0.0, last=2.0),
    ),
)
