_base_ = [
    '../_base_/models/manpp_k9_release.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/sgd_bs1024_400e.py',
    '../_base_/default_runtime.py',
]
