_base_ = './cifar_resnet.py'

# MAN++ (TPAMI 2026) with PredSim as its host.
model = dict(
    aux_head=dict(
        type='MomentumAuxHead',
        mix='scaled',
        host=dict(type='PredSimAuxHead', pooled_features=512),
    )
)
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.995)]
