_base_ = [
    '../_base_/models/manpp_predsim.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/sgd_bs1024_400e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(depth=110),
    splitter=dict(num_blocks=55, stem='own'),
)
