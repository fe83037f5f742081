# The end-to-end baseline of the MLPs of predsim/, which has ReLU and a loss of weight 1.
_base_ = [
    '../_base_/models/mlp.py',
    '../_base_/datasets/fashion_mnist_grey.py',
    '../_base_/schedules/adam_bs128_200e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    # init_cfg=None keeps torch's own initialisation.
    backbone=dict(
        widths=[1024, 1024, 1024], norm_cfg=dict(type='BN1d'), dropout=0.025, init_cfg=None
    ),
    head=dict(in_channels=1024, init_cfg=None),
)
