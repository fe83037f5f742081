_base_ = './vit_imagenet.py'

# MAN++ (TPAMI 2026) for vision transformers: copies of the next block's first two layers, the
# first mixed with the momentum unit; then class token, norm, linear layer and cross-entropy.
model = dict(
    aux_head=dict(
        type='MomentumAuxHead',
        mix='scaled',
        bias_units=2,
        host=dict(type='LinearAuxHead', norm=dict(type='LN', eps=1e-6)),
    )
)
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.995)]
