_base_ = [
    '../_base_/models/predsim_mlp.py',
    '../_base_/datasets/fashion_mnist_grey.py',
    '../_base_/schedules/adam_bs128_200e.py',
    '../_base_/default_runtime.py',
]
