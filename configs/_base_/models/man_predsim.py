_base_ = './cifar_resnet.py'

# MAN (ECCV 2024) with PredSim as its host.
model = dict(
    aux_head=dict(
        type='MomentumAuxHead',
        mix='sum',
        host=dict(type='PredSimAuxHead', pooled_features=512),
    )
)
custom_hooks = [dict(type='MomentumUpdateHook', decay=0.995)]
