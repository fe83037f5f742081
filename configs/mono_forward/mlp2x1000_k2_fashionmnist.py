# Rate, batch and epochs of configs/mf/fashion_mnist_mlp_2x1000.yaml of arXiv 2511.01061's code,
# whose images are not augmented.
_base_ = [
    '../_base_/models/mono_forward.py',
    '../_base_/datasets/fashion_mnist_grey.py',
    '../_base_/schedules/adam_bs128_12e.py',
    '../_base_/default_runtime.py',
]

data_preprocessor = dict(augments=[])
