_base_ = ['../_base_/models/infopro.py', '../_base_/recipes/cifar10_160e.py']

model = dict(
    splitter=dict(num_blocks=16, stem='own'),
    aux_head=dict(
        reconstruction_weight=dict(first=5.0, last=0.2),
        task_weight=dict(first=0.05, last=0.5),
    ),
)
