# The end-to-end baseline of man/resnet20_k10_digits.py.
_base_ = [
    '../_base_/models/cifar_resnet.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/sgd_bs64_20e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(depth=20), input_shape=(3, 8, 8))
