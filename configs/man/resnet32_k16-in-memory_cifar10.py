_base_ = [
    '../_base_/models/man.py',
    '../_base_/datasets/cifar10_in_memory.py',
    '../_base_/schedules/sgd_bs1024_400e.py',
    '../_base_/default_runtime.py',
]

model = dict(splitter=dict(num_blocks=16, stem='own'))
