_base_ = ['../_base_/models/infopro.py', '../_base_/recipes/cifar10_160e.py']

model = dict(
    splitter=dict(num_blocks=8),
    aux_head=dict(
        reconstruction_weight=dict(first=5.0, last=0.0),
        task_weight=dict(first=0.0, last=2.0),
    ),
)
