_base_ = [
    '../_base_/models/infopro.py',
    '../_base_/datasets/stl10.py',
    '../_base_/schedules/sgd_bs128_160e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    splitter=dict(num_blocks=16, stem='own'),
    input_shape=(3, 96, 96),
    aux_head=dict(
        reconstruction_weight=dict(first=20.0, last=10.0),
        task_weight=dict(first=0.5, last=0.1),
    ),
)
