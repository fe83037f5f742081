# The end-to-end baseline of mono_forward/mlp2x1000_k2_fashionmnist.py: rate, weight decay and
# epochs of fashion_mnist_mlp_2x1000_bp.yaml of the same code, which stops early on held-out images.
_base_ = [
    '../_base_/models/mlp.py',
    '../_base_/datasets/fashion_mnist_grey.py',
    '../_base_/schedules/adam_bs128_12e.py',
    '../_base_/default_runtime.py',
]

data_preprocessor = dict(augments=[])
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2.1316290979390737e-4, weight_decay=2.7122805865833542e-05)
)
train_cfg = dict(max_epochs=100)
