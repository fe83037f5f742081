_base_ = [
    '../_base_/models/feature_reconstruction.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/sgd_bs1024_400e.py',
    '../_base_/default_runtime.py',
]

model = dict(splitter=dict(num_blocks=8))
